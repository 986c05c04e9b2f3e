from .artefacts.assistant import Assistant
from .artefacts.distilled import DistilledSet, load_distilled
from .artefacts.embedded_teacher import embedded_teacher
from .artefacts.encoder import Encoder, load_encoder
from .artefacts.rule import TrainingRule
from .artefacts.targets import Targets, TargetsConfig, compute_targets
from .artefacts.trajectories import Trajectories
from .core.errors import DecoctError
from .core.place import Place
from .core.seeding import random_subset
from .data.augment import AugmentConfig
from .data.images import Images
from .data.sources import load_images
from .data.stored_views import show_views
from .data.tasks import Task, labelled_indices, load_task
from .evaluation.finetune import FinetuneConfig, finetune
from .evaluation.interval import Interval
from .evaluation.label_free import LabelFree, label_free_scores
from .evaluation.probe import ProbeConfig, ProbeScore, probe
from .evaluation.scores import Score, Scores
from .evaluation.target_probe import target_probe_error
from .matching.loop import MatchingConfig
from .methods.boost_ssdd import BoostSSDD, boost_ssdd
from .methods.carried import Carried, LabellerConfig, carried_set
from .methods.high_loss import high_loss_subset
from .methods.inputs import Inputs
from .methods.k_center import k_center_subset
from .methods.k_means import kmeans_subset
from .methods.krr_st import KRRST, krr_st
from .methods.method import Method
from .methods.mkdt import MKDT, mkdt
from .methods.mtt_ssl import MTTSSL, mtt_ssl, train_ssl_experts
from .methods.registry import register
from .methods.sas import SAS, sas_subset
from .methods.views import Views, stored_views
from .models.registry import NetworkConfig, create_network
from .report.embed import embed
from .report.export import export
from .report.export_encoder import export_encoder
from .report.page import write_report
from .report.pull import pull
from .report.push import push
from .report.show import describe, show
from .report.verify import Checked, verify
from .run.budget import within_budget
from .run.doctor import doctor
from .run.lock import lock_folder
from .run.pipeline import Run
from .run.recipe import Recipe, load_recipe
from .run.recipes import recipe_names
from .studies.ablate import ablate
from .studies.ablation import Ablation
from .studies.compare import compare
from .studies.fit import Fit, FitConfig, fit
from .studies.frontier.cells import Frontier
from .studies.frontier.study import FrontierConfig, frontier
from .studies.tune import TuneConfig, Tuning, tune
from .studies.variance.study import VarianceConfig, diagnose_variance
from .training.assistant import AssistantConfig, train_assistant
from .training.difficulty import difficulty
from .training.expert import ExpertsConfig
from .training.experts import train_experts
from .training.objective import Objective
from .training.optimiser import Optimiser
from .training.pretrain import PretrainConfig, fresh_encoder, pretrain
from .training.pretrained import load_teacher
from .training.ssl_pretrain import SSLPretrainConfig, pretrain_by_ssl
from .training.teacher import SSLConfig, train_teacher

__version__: str

__all__ = [
    "KRRST",
    "MKDT",
    "MTTSSL",
    "SAS",
    "Ablation",
    "Assistant",
    "AssistantConfig",
    "AugmentConfig",
    "BoostSSDD",
    "Carried",
    "Checked",
    "DecoctError",
    "DistilledSet",
    "Encoder",
    "ExpertsConfig",
    "FinetuneConfig",
    "Fit",
    "FitConfig",
    "Frontier",
    "FrontierConfig",
    "Images",
    "Inputs",
    "Interval",
    "LabelFree",
    "LabellerConfig",
    "MatchingConfig",
    "Method",
    "NetworkConfig",
    "Objective",
    "Optimiser",
    "Place",
    "PretrainConfig",
    "ProbeConfig",
    "ProbeScore",
    "Recipe",
    "Run",
    "SSLConfig",
    "SSLPretrainConfig",
    "Score",
    "Scores",
    "Targets",
    "TargetsConfig",
    "Task",
    "TrainingRule",
    "Trajectories",
    "TuneConfig",
    "Tuning",
    "VarianceConfig",
    "Views",
    "ablate",
    "boost_ssdd",
    "carried_set",
    "compare",
    "compute_targets",
    "create_network",
    "describe",
    "diagnose_variance",
    "difficulty",
    "doctor",
    "embed",
    "embedded_teacher",
    "export",
    "export_encoder",
    "finetune",
    "fit",
    "fresh_encoder",
    "frontier",
    "high_loss_subset",
    "k_center_subset",
    "kmeans_subset",
    "krr_st",
    "label_free_scores",
    "labelled_indices",
    "load_distilled",
    "load_encoder",
    "load_images",
    "load_recipe",
    "load_task",
    "load_teacher",
    "lock_folder",
    "mkdt",
    "mtt_ssl",
    "pretrain",
    "pretrain_by_ssl",
    "probe",
    "pull",
    "push",
    "random_subset",
    "recipe_names",
    "register",
    "sas_subset",
    "show",
    "show_views",
    "stored_views",
    "target_probe_error",
    "train_assistant",
    "train_experts",
    "train_ssl_experts",
    "train_teacher",
    "tune",
    "verify",
    "within_budget",
    "write_report",
]
