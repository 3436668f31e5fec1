"""What a network sees: one method, one file. METHODS are those that say what speaks for a class.

Each is called with a Network, one example (no batch axis), a class_id and, if it looks at a layer,
`layer`; and gives an Explanation.
"""

from collections.abc import Callable

from pipelines.explain.cam import cam
from pipelines.explain.explanation import Explanation
from pipelines.explain.grad_cam import grad_cam, grad_cam_plus_plus
from pipelines.explain.guided_backprop import guided_backprop
from pipelines.explain.integrated_gradients import integrated_gradients
from pipelines.explain.occlusion import occlusion
from pipelines.explain.saliency import saliency
from pipelines.explain.score_cam import score_cam
from pipelines.explain.smoothgrad import smoothgrad

METHODS: dict[str, Callable[..., Explanation]] = {
    "saliency": saliency,
    "smoothgrad": smoothgrad,
    "guided-backprop": guided_backprop,
    "integrated-gradients": integrated_gradients,
    "occlusion": occlusion,
    "cam": cam,
    "grad-cam": grad_cam,
    "grad-cam++": grad_cam_plus_plus,
    "score-cam": score_cam,
}
OF_A_LAYER = ("grad-cam", "grad-cam++", "score-cam")  # which take `layer`
