"""No module of the packages imports another in a circle, in functions and for types included."""

from __future__ import annotations

from graphlib import TopologicalSorter

from grimp import build_graph

PACKAGES = [
    f"ranksrgan.{name}"
    for name in ("contracts", "metrics", "rankdata", "ranker", "srgan", "pipeline")
]


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = build_graph(*PACKAGES, cache_dir=None)
    imported = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert sum(map(len, imported.values())) > len(imported)
    TopologicalSorter(imported).prepare()  # names the circle
