"""Hooks of pretraining and fine-tuning runs."""

from .bad_images import BadImagesHook
from .band_visualization import BandVisualizationHook
from .batch import BatchHook
from .checkpoint import CheckpointHook
from .exact_resume import ExactResumeHook
from .monitor import MonitorHook
from .non_finite import NonFiniteGuard
from .pca_fit import PCAFitHook
from .preemption import PreemptionHook
from .progress import ProgressHook
from .reconstruction import ReconstructionHook
from .resume import ResumeHook
from .schedule import ScheduleHook
from .starting_weights import StartingWeightsHook
