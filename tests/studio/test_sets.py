"""The data that can be chosen."""

import numpy as np
from PIL import Image
from tests.studio.conftest import Running

from firstlight.locks import held
from firstlight.studio.worker import LOCK
from firstlight.verbs.recipes import recipe_text


def test_a_folder_with_the_name_of_a_data_set_is_the_folder(studio: Running) -> None:
    rng = np.random.default_rng(0)
    for name in ("ant", "bee", "cow"):
        (studio.folder / "digits" / name).mkdir(parents=True)
        for number in range(4):
            pixels_HWC = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels_HWC).save(studio.folder / "digits" / name / f"{number}.png")
    (studio.folder / "trainings").mkdir()
    with studio.client() as client, held(studio.folder / "trainings" / LOCK):  # none begins
        sets = client.get("/api/studio/sets").json()
        (own,) = (one for one in sets if one["title"] == "digits" and not one["named"])
        assert own["classes"] == ["ant", "bee", "cow"]
        values = {"toml": recipe_text("digits-tutorial"), "data": own["word"]}
        rows = client.post("/api/studio/written", json=values).json()["rows"].values()
        assert list(rows)[-1]["output"] == [3]
        client.post("/api/studio/trainings", json={"data": own["word"]}).raise_for_status()
        (training,) = studio.queue.all()
        # As in the command, which says so: "digits" is the named set, "./digits" the folder.
        assert training.wanted.data == "./digits"
        training.remove()
