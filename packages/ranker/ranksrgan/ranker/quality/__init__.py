"""Full-reference quality models that are learnt from people's opinions."""
