"""decoct boils an unlabelled image data set down to a few images that pre-train good encoders.

Images --teacher--> Targets --experts--> Trajectories --distill--> DistilledSet
       --pretrain--> Encoder --probe--> Scores
Images, Targets --assistant--> DistilledSet, of images in several views: the default
"""

__version__ = "0.1.0"

from decoct.artefacts.distilled import DistilledSet, TrainingRule, load_distilled
from decoct.artefacts.embedded_teacher import embedded_teacher
from decoct.artefacts.encoder import Encoder
from decoct.artefacts.targets import Targets, TargetsConfig, compute_targets
from decoct.artefacts.trajectories import Trajectories
from decoct.core.errors import DecoctError
from decoct.data.augment import ViewsConfig
from decoct.data.images import Images
from decoct.data.sources import load_images
from decoct.data.stored_views import show_views
from decoct.data.tasks import Task, labelled_indices, load_task
from decoct.evaluation.probe import ProbeConfig, ProbeScore, probe
from decoct.evaluation.scores import Interval, Score, Scores
from decoct.evaluation.target_probe import pool_error
from decoct.methods.high_loss import high_loss_subset
from decoct.methods.k_center import k_center_subset
from decoct.methods.k_means import kmeans_subset
from decoct.methods.krr_st import KRRSTConfig, krr_st
from decoct.methods.mkdt import MKDTConfig, mkdt
from decoct.methods.mtt_ssl import MTTSSLConfig, mtt_ssl, train_ssl_experts
from decoct.methods.random import random_subset
from decoct.methods.sas import SASConfig, sas_subset
from decoct.methods.views import StoredViewsConfig, stored_views
from decoct.models.registry import NetworkConfig, create_network
from decoct.report.export import export
from decoct.report.page import write_report
from decoct.report.show import describe, show
from decoct.run.doctor import doctor
from decoct.run.pipeline import Run
from decoct.run.recipe import Recipe, load_recipe, recipe_names
from decoct.studies.ablate import ablate
from decoct.studies.ablation import Ablation
from decoct.studies.tune import TuneConfig, Tuning, tune
from decoct.studies.variance.study import VarianceConfig, diagnose_variance
from decoct.training.assistant import Assistant, AssistantConfig, train_assistant
from decoct.training.experts import ExpertsConfig, difficulty, train_experts
from decoct.training.objective import Objective
from decoct.training.pretrain import PretrainConfig, fresh_encoder, pretrain
from decoct.training.pretrained import load_teacher
from decoct.training.ssl_pretrain import SSLPretrainConfig, pretrain_by_ssl
from decoct.training.teacher import SSLConfig, train_teacher

__all__ = [
    "Ablation",
    "Assistant",
    "AssistantConfig",
    "DecoctError",
    "DistilledSet",
    "Encoder",
    "ExpertsConfig",
    "Images",
    "Interval",
    "KRRSTConfig",
    "MKDTConfig",
    "MTTSSLConfig",
    "NetworkConfig",
    "Objective",
    "PretrainConfig",
    "ProbeConfig",
    "ProbeScore",
    "Recipe",
    "Run",
    "SASConfig",
    "SSLConfig",
    "SSLPretrainConfig",
    "Score",
    "Scores",
    "StoredViewsConfig",
    "Targets",
    "TargetsConfig",
    "Task",
    "TrainingRule",
    "Trajectories",
    "TuneConfig",
    "Tuning",
    "VarianceConfig",
    "ViewsConfig",
    "ablate",
    "compute_targets",
    "create_network",
    "describe",
    "diagnose_variance",
    "difficulty",
    "doctor",
    "embedded_teacher",
    "export",
    "fresh_encoder",
    "high_loss_subset",
    "k_center_subset",
    "kmeans_subset",
    "krr_st",
    "labelled_indices",
    "load_distilled",
    "load_images",
    "load_recipe",
    "load_task",
    "load_teacher",
    "mkdt",
    "mtt_ssl",
    "pool_error",
    "pretrain",
    "pretrain_by_ssl",
    "probe",
    "random_subset",
    "recipe_names",
    "sas_subset",
    "show",
    "show_views",
    "stored_views",
    "train_assistant",
    "train_experts",
    "train_ssl_experts",
    "train_teacher",
    "tune",
    "write_report",
]
