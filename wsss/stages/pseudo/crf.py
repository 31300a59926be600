"""Dense CRF by pydensecrf, in the symbols of the paper. Pure.

Source: P. Krähenbühl and V. Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials",
NeurIPS 2011: equation 3 (the two kernels), algorithm 1 (mean field). Kernels are normalised symmetrically,
D^-1/2 K D^-1/2. Labels are compared by the Potts model. The filter on the permutohedral lattice is approximate.

pydensecrf holds Python's global lock: run several images in several processes, not threads.

Shape legend: K labels (background first), H×W image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pydensecrf.densecrf as densecrf

from wsss.files.mask_values import IGNORE
from wsss.settings.sections import CrfSection

SMALLEST = 1e-5
"""Smallest probability: lower ones are raised to it, as in pydensecrf's own unary."""


@dataclass(frozen=True, kw_only=True)
class CrfParameters:
    """The kernels (equation 3) and the number of iterations.

    k = w_bilateral exp(-|p|²/2θ_α² - |I|²/2θ_β²) + w_gaussian exp(-|p|²/2θ_γ²), where p and I are the differences of
    position and colour.

    Attributes:
        theta_alpha: Bilateral spatial width, px.
        theta_beta: Bilateral colour width, grey levels.
        theta_gamma: Gaussian spatial width, px.
        w_bilateral: Bilateral weight.
        w_gaussian: Gaussian weight.
        iterations: Mean-field iterations.
    """

    theta_alpha: float
    theta_beta: float
    theta_gamma: float
    w_bilateral: float
    w_gaussian: float
    iterations: int


PRESETS: dict[str, tuple[float, float, float, float, float]] = {
    "sec": (80, 13, 3, 10, 3),
    "largefov": (121, 5, 3, 4, 3),
    "deeplabv2": (67, 3, 1, 4, 3),
    "irn": (50, 5, 3, 10, 3),
}
"""Published settings: θ_α, θ_β, θ_γ, w_bilateral, w_gaussian.

sec: SEC, DSRG, PSA, SEAM and EPS. largefov: DeepLab-LargeFOV. deeplabv2: DeepLab v2 with ResNet-101. irn: IRN.

Widths are px of images about 500 px long. `sec` was made for score maps: from hard labels it swallows small objects,
where `irn` and `deeplabv2` sharpen them. Measured on 44 images of VOC 2012 with outlines grown by 7 px and label
confidence 0.7: mean foreground IoU 0.72 becomes 0.56 (sec), 0.73 (largefov), 0.76 (irn), 0.83 (deeplabv2).
"""


def crf_parameters(section: CrfSection) -> CrfParameters:
    """Return the published settings that `section.preset` names, or the section's own.

    The number of iterations is always the section's.
    """
    custom = (section.theta_alpha, section.theta_beta, section.theta_gamma, section.w_bilateral, section.w_gaussian)
    alpha, beta, gamma, bilateral, gaussian = custom if section.preset == "custom" else PRESETS[section.preset]
    return CrfParameters(
        theta_alpha=alpha,
        theta_beta=beta,
        theta_gamma=gamma,
        w_bilateral=bilateral,
        w_gaussian=gaussian,
        iterations=section.iterations,
    )


def dense_crf(image_u8: np.ndarray, probabilities: np.ndarray, *, parameters: CrfParameters) -> np.ndarray:
    """Refine label probabilities with the colours of an image.

    Args:
        image_u8: (H, W, 3) RGB uint8, the image itself: never normalised or mean-subtracted.
        probabilities: (K, H, W) float32 in [0, 1]; need not sum to 1 over K.
        parameters: Kernels and iterations.

    Returns:
        (K, H, W) float32 that sum to 1 over K.

    Raises:
        ValueError: If the image is not (H, W, 3) uint8, the probabilities have another size, or they are none.

    Example:
        A bright square, and probabilities that are sure of its label at one pixel only:

        >>> import numpy as np
        >>> image_u8 = np.zeros((8, 8, 3), np.uint8)
        >>> image_u8[2:6, 2:6] = 255
        >>> given = np.full((2, 8, 8), 0.5, np.float32)  # (K, H, W): background and one class
        >>> given[:, 3, 3], given[:, 0, 0] = (0.1, 0.9), (0.9, 0.1)
        >>> parameters = CrfParameters(
        ...     theta_alpha=20, theta_beta=10, theta_gamma=1, w_bilateral=10, w_gaussian=1, iterations=5
        ... )
        >>> refined = dense_crf(image_u8, given, parameters=parameters)
        >>> int(refined.argmax(0).sum())  # the 16 pixels of the square
        16
    """
    if image_u8.dtype != np.uint8 or image_u8.ndim != 3 or image_u8.shape[2] != 3:
        raise ValueError(
            f"the CRF got an image {image_u8.shape} of {image_u8.dtype}, expected (height, width, 3) RGB of uint8: "
            "give the image itself, not the normalised array"
        )
    if probabilities.ndim != 3 or probabilities.shape[1:] != image_u8.shape[:2]:
        raise ValueError(
            f"the CRF got probabilities {probabilities.shape} for an image {image_u8.shape[:2]} (height, width); "
            "expected (labels, height, width) at image size"
        )
    if not (probabilities.min(initial=0) >= 0 and probabilities.max(initial=1) <= 1 + 1e-4):  # also catches NaN
        found = f"{probabilities.min()}..{probabilities.max()}"
        raise ValueError(f"the CRF got values {found}, expected probabilities in 0..1; apply softmax first")
    if len(probabilities) == 1:  # nothing to decide
        return np.ones(probabilities.shape, np.float32)
    return _infer(image_u8, -np.log(np.clip(probabilities, SMALLEST, 1.0)), parameters=parameters)


def _infer(image_u8: np.ndarray, energy: np.ndarray, *, parameters: CrfParameters) -> np.ndarray:
    """Call pydensecrf, here only: it takes sizes as (width, height), but arrays row by row, (K, H * W)."""
    labels, height, width = energy.shape
    crf = densecrf.DenseCRF2D(width, height, labels)
    crf.setUnaryEnergy(np.ascontiguousarray(energy.reshape(labels, height * width), np.float32))
    if parameters.w_gaussian > 0:
        crf.addPairwiseGaussian(sxy=parameters.theta_gamma, compat=parameters.w_gaussian)
    if parameters.w_bilateral > 0:
        rgb = np.array(image_u8, order="C")  # a copy: pydensecrf needs a writable, contiguous image
        crf.addPairwiseBilateral(
            sxy=parameters.theta_alpha, srgb=parameters.theta_beta, rgbim=rgb, compat=parameters.w_bilateral
        )
    return np.array(crf.inference(parameters.iterations), np.float32).reshape(labels, height, width)


def label_probabilities(mask: np.ndarray, class_ids: Sequence[int] | np.ndarray, *, confidence: float) -> np.ndarray:
    """Make probabilities from hard labels, as IRN and pydensecrf's unary_from_labels do.

    Here 0 is background and 255 is unknown.

    Args:
        mask: (H, W) uint8 that holds only 0, the given classes and 255.
        class_ids: (K,) ids 1..C.
        confidence: Probability of a pixel's own label, above 1 / (K + 1); the others share the rest. Pixels of 255 are
            uniform.

    Returns:
        (K + 1, H, W) float32 that sum to 1: background, then `class_ids` in order.

    Raises:
        ValueError: If the mask holds another class, or the confidence is no more than chance.

    Example:
        >>> import numpy as np
        >>> mask = np.array([[0, 3, 255]], np.uint8)
        >>> label_probabilities(mask, [3], confidence=0.75).tolist()  # background, then class 3
        [[[0.75, 0.25, 0.5]], [[0.25, 0.75, 0.5]]]
    """
    ids = np.concatenate([[0], np.asarray(class_ids, np.int64)])
    if strangers := sorted(set(np.unique(mask).tolist()) - {*ids.tolist(), IGNORE}):
        raise ValueError(
            f"the mask holds {strangers}, expected 0, {ids[1:].tolist()} and {IGNORE}; filter its labels first"
        )
    if len(ids) > 1 and confidence <= 1 / len(ids):
        raise ValueError(
            f"pseudo.crf.label_confidence {confidence} is no more than chance among {len(ids)} labels; "
            f"set it above {1 / len(ids):.2f}"
        )
    if len(ids) == 1:
        return np.ones((1, *mask.shape), np.float32)
    hit = mask[None] == ids[:, None, None]  # (K + 1, H, W)
    values = np.where(hit, confidence, (1 - confidence) / (len(ids) - 1))
    return np.where(mask[None] == IGNORE, 1 / len(ids), values).astype(np.float32)
