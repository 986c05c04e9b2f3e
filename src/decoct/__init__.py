"""decoct boils an unlabelled image data set down to a few images that pre-train good encoders.

Images --teacher--> Targets --experts--> Trajectories --distill--> DistilledSet
       --pretrain--> Encoder --probe--> Scores
Images, Targets --assistant--> DistilledSet, of images in several views: the default
"""

__version__ = "0.1.0"

from decoct.ablation.ablate import ablate
from decoct.ablation.result import Ablation
from decoct.assistant import Assistant, AssistantConfig, train_assistant
from decoct.data.images import Images
from decoct.data.sources import load_images
from decoct.data.stored_views import show_views
from decoct.data.tasks import Task, labelled_indices, load_task
from decoct.data.views import ViewsConfig
from decoct.diagnose.variance import VarianceConfig, diagnose_variance
from decoct.distilled import DistilledSet, TrainingRule, load_distilled
from decoct.distillers.krr_st import KRRSTConfig, krr_st
from decoct.distillers.mkdt import MKDTConfig, mkdt
from decoct.distillers.mtt_ssl import MTTSSLConfig, mtt_ssl, train_ssl_experts
from decoct.distillers.views import StoredViewsConfig, stored_views
from decoct.doctor import doctor
from decoct.encoder import Encoder
from decoct.errors import DecoctError
from decoct.experts import ExpertsConfig, difficulty, train_experts
from decoct.export import export
from decoct.models.registry import NetworkConfig, create_network
from decoct.pipeline import Run
from decoct.pool_error import pool_error
from decoct.pretrain import PretrainConfig, fresh_encoder, pretrain
from decoct.probe import ProbeConfig, ProbeScore, probe
from decoct.recipe import Recipe, load_recipe, recipe_names
from decoct.report.page import write_report
from decoct.scores import Interval, Score, Scores
from decoct.show import describe, show
from decoct.ssl_pretraining import SSLPretrainConfig, pretrain_by_ssl
from decoct.subsets.high_loss import high_loss_subset
from decoct.subsets.k_center import k_center_subset
from decoct.subsets.kmeans import kmeans_subset
from decoct.subsets.random import random_subset
from decoct.subsets.sas import SASConfig, sas_subset
from decoct.targets import Targets, TargetsConfig, compute_targets
from decoct.teachers.embedded import embedded_teacher
from decoct.teachers.objective import Objective
from decoct.teachers.pretrained import load_teacher
from decoct.teachers.training import SSLConfig, train_teacher
from decoct.trajectories import Trajectories
from decoct.tune import TuneConfig, Tuning, tune

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
