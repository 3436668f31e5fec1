"""Who is compared: each with the packages that it is made of, and how it is spoken to.

Settings are the best of those tried on two cores: one thread for each of TensorFlow's operations
was mostly faster than its own choice, and waiting for a batch to fill mostly slower.
"""

from typing import NamedTuple

TENSORFLOW = "tensorflow-cpu==2.21.0"
PYTRITON = ("nvidia-pytriton==0.7.0", TENSORFLOW)


class Contender(NamedTuple):
    """
    requirements: of its own virtual environment; none: it runs in this one.
    script:       beside this file; empty: it is triptych itself.
    http:         it is sent a tensor's bytes by HTTP; the others speak OIP over gRPC.
    threads:      of one of TensorFlow's operations; 0: TensorFlow's own choice.
    instances:    of the model, that compute side by side; not all peers have that.
    delay_us:     that it waits for a batch to fill; the best of those that were tried.
    precision:    for triptych alone.
    """

    requirements: tuple[str, ...] = ()
    script: str = ""
    http: bool = False
    threads: int = 1
    instances: int = 1
    delay_us: int = 0
    precision: str = "f32"


CONTENDERS = {
    "triptych": Contender(),
    "triptych-bf16": Contender(precision="auto"),
    "sketch": Contender(script="sketch_peer.py"),
    "kserve": Contender(("kserve==0.21.0", TENSORFLOW), "kserve_peer.py"),
    # Without a delay it makes no batches.
    "mlserver": Contender(("mlserver==1.7.1", TENSORFLOW), "mlserver_peer.py", delay_us=1000),
    "pytriton": Contender(PYTRITON, "pytriton_peer.py"),
    "pytriton-2": Contender(PYTRITON, "pytriton_peer.py", instances=2),  # better for the large
    "bentoml": Contender(("bentoml==1.4.39", TENSORFLOW), "bentoml_peer.py", http=True),
    "litserve": Contender(("litserve==0.2.19", TENSORFLOW), "litserve_peer.py", http=True),
    "rayserve": Contender(("ray[serve]==2.60.0", TENSORFLOW), "rayserve_peer.py", http=True),
}
OURS = ("triptych", "triptych-bf16")
PEERS = tuple(name for name, one in CONTENDERS.items() if one.requirements)
