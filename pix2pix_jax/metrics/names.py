"""Names of the metrics, for those who check or list them without computing any."""

DISTANCES = ("fid", "kid", "clean_fid", "clean_kid")  # of sets of images; clean_*: with the resizing of clean-fid
METRICS = ("l1", "psnr", "ssim", "ms_ssim", "lpips", "labels", *DISTANCES)
LOWER_IS_BETTER = frozenset(("l1", "lpips", *DISTANCES))
LABEL_SCORES = ("pixel_accuracy", "class_accuracy", "mean_iou")  # what "labels" reports


def values_of(metric: str) -> tuple[str, ...]:
    """Returns the names under which a metric's numbers are reported."""
    return LABEL_SCORES if metric == "labels" else (metric,)
