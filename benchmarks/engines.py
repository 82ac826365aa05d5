"""iALS by our solver and by `implicit`, the same loss and the same data in the same run; LightFM's own ranking.

    python -m benchmarks.engines

ML-1M with 99 negatives (ENCORE_BENCH_DATA): per engine and number of epochs processor seconds of the fit, HR@10 and
NDCG@10. Then the largest difference between LightFM's predictions and our exported vectors, and whether rankings agree.
"""

from __future__ import annotations

from time import process_time

import numpy as np

from app.application.evaluation.hold_out import take_rows
from app.application.evaluation.pipeline import ranks_among
from app.commands.quality import data
from app.commands.quality.protocols import columns_of, dataset_of
from app.domain.dataset import Dataset
from app.models import RECOMMENDERS
from app.models.lightfm import LightfmParameters, LightfmRecommender, train_lightfm
from benchmarks.machine import report
from benchmarks.odd_data import tasteful
from benchmarks.odd_shapes import silent

BENCHMARK = "engines"
FACTORS, ALPHA, STRENGTH = 128, 0.17, 0.0076
EPOCHS = {"irspack": (6, 12), "implicit": (6, 12, 20)}


def alternating_least_squares() -> None:
    """A line per engine and number of epochs."""
    pairs, users, candidates = data.movielens_negatives()
    dataset = dataset_of(pairs.events())
    histories = take_rows(dataset.histories, dataset.users.positions(str(user) for user in users))
    column = columns_of(dataset, pairs.n_items)
    for engine, tried in EPOCHS.items():
        for epochs in tried:
            parameters = {"factors": FACTORS, "alpha": ALPHA, "regularization": STRENGTH, "epochs": epochs}
            recommender = RECOMMENDERS.build("ials", {**parameters, "engine": engine})
            began = process_time()
            recommender.fit(dataset, seed=0, progress=silent)
            seconds = process_time() - began
            ranks = ranks_among(recommender, histories, column[candidates])
            value = float(np.where(ranks < 10, 1 / np.log2(ranks + 2), 0.0).mean())
            report(
                BENCHMARK,
                f"{engine}, {epochs} epochs",
                seconds,
                "cpu s",
                hr_at_10=round(float((ranks < 10).mean()), 4),
                ndcg_at_10=round(value, 4),
                factors=FACTORS,
            )


def exported_vectors(dataset: Dataset) -> None:
    """LightFM's scores for every user and item, and those of the vectors we keep of it."""
    given = {"components": 30, "epochs": 10}
    recommender = LightfmRecommender.build("lightfm", given)
    recommender.fit(dataset, seed=0, progress=silent)
    model, items, users = train_lightfm(dataset, LightfmParameters(**given), seed=0, progress=silent)
    biases, vectors = model.get_user_representations(users)
    ours = np.hstack([vectors, np.ones((len(vectors), 1))]) @ recommender.item_vectors.T + biases[:, None]
    everything = np.arange(dataset.n_items)
    theirs = np.stack(
        [
            model.predict(user, everything, item_features=items, user_features=users, num_threads=1)
            for user in range(dataset.n_users)
        ]
    )
    same = (np.argsort(-ours, axis=1)[:, :10] == np.argsort(-theirs, axis=1)[:, :10]).mean()
    report(BENCHMARK, "lightfm", float(np.abs(ours - theirs).max()), "largest difference", same_places_in_top_10=same)


if __name__ == "__main__":
    exported_vectors(dataset_of(tasteful(500, 800, 20_000).train))
    alternating_least_squares()
