"""A Ranker behind a unix socket against the same Ranker in process."""

from __future__ import annotations

import tempfile

import torch
from timing import medians

from ranksrgan.contracts.client import connect_scorer
from ranksrgan.contracts.rpc import start_server
from ranksrgan.contracts.serving.scoring import ScoringServicer
from ranksrgan.ranker import VGG12, Ranker, RankerCatalog


def main() -> None:
    ranker = Ranker(VGG12(16), higher_is_better=False, name="ranker", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        catalog = RankerCatalog({"ranker": ranker})
        server = start_server(f"unix:{folder}/r.sock", [ScoringServicer(catalog)])
        remote = connect_scorer(server.address, "ranker")
        print(f"{'batch':<20}{'call':<12}{'in process':>12}{'service':>12}{'ratio':>8}")
        for shape in ((8, 3, 128, 128), (8, 3, 296, 296)):
            images = torch.rand(shape)
            for call in ("score", "gradient"):
                found = medians(
                    {
                        "local": lambda call=call, images=images: getattr(ranker, call)(images),
                        "remote": lambda call=call, images=images: getattr(remote, call)(images),
                    },
                    rounds=7,
                )
                print(
                    f"{'x'.join(map(str, shape)):<20}{call:<12}{1e3 * found['local']:>9.1f} ms"
                    f"{1e3 * found['remote']:>9.1f} ms{found['remote'] / found['local']:>8.2f}"
                )
        server.stop()


if __name__ == "__main__":
    main()
