"""``ranksrgan web``: a page that compares models, and studies in which people vote.

`app` puts the two together. `comparison` and `comparisons` work for the first, `study` and
`vote_book` for the second; ``pages`` holds what the browser gets.
"""
