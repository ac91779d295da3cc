"""What other libraries call things, so that who comes from one is told what they are called here.

Synopsis:

    >>> meant("loss", "nn.CrossEntropyLoss", ["softmax_cross_entropy", "squared_error"])
    "; did you mean 'softmax_cross_entropy'?"
    >>> meant("loss", "squared_eror", ["softmax_cross_entropy", "squared_error"])
    "; did you mean 'squared_error'?"

Words are compared by their letters and digits alone: `MSELoss`, `mse_loss` and `torch.nn.MSELoss` are one.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable

from mlgym_jax.errors import nearest

# Of each kind, what is registered here, perhaps with parameters, and what else it is called.
_WORDS: dict[str, dict[str, str]] = {
    "dataset": {
        "huggingface": "hf datasets load_dataset arrow",
        "image_folder": "images imagefolder image_dataset_from_directory folder",
        "npz": "numpy np npy tensordataset arrays",
        "csv": "tsv table read_csv",
        "parquet": "read_parquet",
        "given": "pandas dataframe frame polars",
    },
    "validation": {
        "holdout": "split train_test_split random_split train_val_split validation_split",
        "cross_validation": "kfold stratified_kfold group_kfold repeated_kfold cv cross_val_score",
        "nested_cross_validation": "nested_cv",
        "time_series": "time_series_split",
    },
    "loader": {"in_memory": "data_loader dataloader batches", "streaming": "grain iterable"},
    "encoding": {
        "standardise": "standard_scaler scale zscore normalize normalise normalization standardize",
        "min_max": "min_max_scaler rescale",
        "one_hot": "one_hot_encoder get_dummies",
        "impute": "simple_imputer fillna",
        "by_column": "column_transformer",
        "bag_of_words": "count_vectorizer tfidf_vectorizer tfidf",
        "chain": "pipeline compose sequential",
    },
    "augmentation": {
        "crop": "random_crop pad_and_crop",
        "flip": "random_horizontal_flip random_flip horizontal_flip fliplr",
        "colour": "color_jitter color",
        "blur": "gaussian_blur",
        "erase": "random_erasing cutout",
        "rotate": "random_rotation random_affine",
        "rand_augment": "randaug autoaugment trivial_augment",
        "gaussian_noise": "noise",
        "chain": "compose sequential",
        "one_of": "random_choice",
        "sometimes": "random_apply",
    },
    "model": {
        "mlp": "dense feed_forward ffn mlp_classifier mlp_regressor fully_connected sequential",
        "linear": "logistic_regression linear_regression softmax_regression perceptron",
        "cnn": "conv convnet lenet",
        "vit": "vision_transformer vit_b_16 vit_base",
        "transformer": "gpt gpt2 bert nanogpt decoder encoder",
        "lstm": "rnn bilstm",
        "gnn": "gcn graph_network",
        "autoencoder": "ae",
        **{f"component('resnet', depth={depth})": f"resnet{depth}" for depth in (18, 34, 50, 101, 152)},
    },
    "loss": {
        "softmax_cross_entropy": "cross_entropy_loss cross_entropy nll_loss categorical_crossentropy "
        "sparse_categorical_crossentropy softmax_loss log_loss ce",
        "sigmoid_binary_cross_entropy": "bce bce_loss bce_with_logits bce_with_logits_loss binary_crossentropy "
        "binary_cross_entropy_with_logits",
        "squared_error": "mse mse_loss mean_squared_error l2",
        "component('lp', p=1.0)": "l1 l1_loss mae mae_loss mean_absolute_error absolute_error",
        "huber_loss": "huber smooth_l1_loss smooth_l1",
        "sigmoid_focal_loss": "focal focal_loss",
        "kl_divergence": "kl_div_loss kl_div kld",
        "cosine_distance": "cosine_similarity cosine_embedding_loss",
        "triplet_margin_loss": "triplet triplet_loss",
        "negative_elbo": "elbo vae_loss",
        "info_nce": "nce contrastive",
        "dice_loss": "dice soft_dice",
        "ctc_loss": "ctc",
        "hinge_loss": "hinge",
    },
    "metric": {
        "accuracy": "acc categorical_accuracy sparse_categorical_accuracy binary_accuracy accuracy_score",
        "top_k": "top5 topk_accuracy top_k_categorical_accuracy top_k_accuracy_score",
        "auroc": "auc roc_auc roc_auc_score rocauc",
        "aupr": "average_precision average_precision_score pr_auc auprc",
        "f1": "f1_score f1score",
        "precision": "precision_score",
        "recall": "recall_score sensitivity tpr",
        "matthews_corrcoef": "mcc",
        "balanced_accuracy": "balanced_accuracy_score",
        "expected_calibration_error": "ece calibration_error",
        "mae": "mean_absolute_error l1",
        "mse": "mean_squared_error l2",
        "rmse": "root_mean_squared_error",
        "r2": "r2_score r2score coefficient_of_determination",
        "brier_score": "brier brier_score_loss",
    },
    "optimizer": {
        "component('sgd', momentum=0.9)": "momentum",
        "clip_by_global_norm": "clip_grad_norm gradient_clip_val clipnorm global_clipnorm gradient_clipping",
        "clip": "clip_grad_value clipvalue",
        "contrib.reduce_on_plateau": "reduce_lr_on_plateau",
        "contrib.sam": "sam",
        "contrib.muon": "muon",
        "contrib.prodigy": "prodigy",
        "contrib.schedule_free_adamw": "schedule_free adamw_schedule_free",
        "MultiSteps": "gradient_accumulation accumulate",
    },
    "schedule": {
        "cosine_decay_schedule": "cosine cosine_annealing_lr cosine_annealing cosine_decay",
        "sgdr_schedule": "cosine_annealing_warm_restarts cosine_decay_restarts",
        "warmup_cosine_decay_schedule": "warmup_cosine cosine_with_warmup get_cosine_schedule_with_warmup",
        "warmup": "linear_warmup get_linear_schedule_with_warmup warmup_linear",
        "cosine_onecycle_schedule": "one_cycle_lr onecycle one_cycle",
        "piecewise_constant_schedule": "step_lr multi_step_lr step piecewise_constant_decay",
        "exponential_decay": "exponential_lr exponential",
        "linear_schedule": "linear linear_lr linear_decay",
        "polynomial_schedule": "polynomial_lr polynomial polynomial_decay",
        "constant_schedule": "constant constant_lr",
    },
    "early_stopping": {"no_improvement": "early_stopping patience plateau"},
    "checkpointing": {
        "best": "model_checkpoint top_k save_best save_best_only best_n best_k",
        "last": "save_last latest",
        "all": "every_epoch",
    },
    "search": {
        "grid": "grid_search grid_search_cv grid_sampler",
        "random": "random_search randomized_search_cv random_sampler",
        "successive_halving": "asha sha hyperband async_hyper_band_scheduler asha_scheduler halving",
        "optuna": "tpe tpe_sampler bayes bayesian bayesian_optimization bayesopt hyperopt cmaes",
    },
    "parallel": {"data": "ddp dp data_parallel distributed_data_parallel pmap", "fsdp": "zero deepspeed zero3 sharded"},
    "averaging": {"mean": "swa stochastic_weight_averaging", "ema": "exponential_moving_average model_ema polyak"},
    "precision": {"mixed": "bf16 bf16-mixed 16-mixed amp bfloat16 mixed_bfloat16 half autocast"},
    "sampler": {"weighted": "weighted_random_sampler", "class_balanced": "balanced balanced_sampler oversample"},
}
# What is not a field of a config, and what to write in its place.
_FIELDS = {
    "config.num_epochs = …": "epochs max_epochs n_epochs num_train_epochs epoch",
    "config.num_steps = …": "steps max_steps total_steps train_steps num_train_steps iterations",
    "config.seed = …": "random_state random_seed rng_seed manual_seed",
    "config.name = …": "run_name experiment experiment_name project project_name",
    "config.dataset = component(…)": "data datamodule train_data train_dataset",
    "config.loader = component('in_memory', batch_size=…)": "batch_size batchsize bs dataloader train_loader",
    "config.validation = component('holdout', val=…, test=…)": "val test split splits test_size val_size valid cv",
    "config.loss = component(…)": "criterion loss_fn objective loss_function",
    "config.optimizer = component('adam', learning_rate=…)": "lr learning_rate optim weight_decay momentum",
    "config.optimizer = component('adam', learning_rate=component('cosine_decay_schedule', …))": "scheduler schedule "
    "lr_scheduler lr_schedule learning_rate_schedule warmup warmup_steps",
    "config.optimizer = component('chain', transforms=(component('clip_by_global_norm', …), …))": "gradient_clip_val "
    "grad_clip clip_grad_norm max_grad_norm clip",
    "config.augmentation = component(…), of batches in training, or config.encoding = component(…)": "transform "
    "transforms augmentations augment preprocessing preprocess",
    "config.early_stopping = component('no_improvement', …)": "patience early_stop",
    "config.early_stopping = component(…) and config.checkpointing = component(…)": "callbacks callback hooks",
    "config.checkpointing = component('best', …)": "checkpoint checkpoints save_top_k save_best",
    "config.averaging = component('ema', decay=…)": "ema ema_decay swa",
    "config.search = component(…)": "sweep tuner sampler_search num_trials",
    "every run is logged as it is, and by run --log_to=wandb to another tracker, too": "logger loggers wandb "
    "tensorboard log_dir logging",
    "devices are chosen by run --devices and --mesh": "device devices accelerator gpus strategy num_gpus",
    "python -m mlgym_jax.runs tag RUN_ID TAG says it of a run": "tags tag notes note group",
}
# What parameters are called elsewhere; those of them count that the component has.
_PARAMETERS = {
    "learning_rate": "lr",
    "init_value": "lr learning_rate base_lr",
    "peak_value": "max_lr peak_lr",
    "b1": "betas beta1 beta_1",
    "b2": "beta2 beta_2",
    "eps": "epsilon",
    "decay_steps": "t_max num_training_steps total_steps",
    "features": "hidden hidden_dim hidden_dims hidden_size hidden_sizes hidden_layer_sizes units layers width "
    "usecols columns",
    "hidden": "hidden_size hidden_dim units features",
    "width": "d_model dim embed_dim hidden_size n_embd",
    "depth": "num_layers n_layers n_layer layers num_blocks",
    "num_layers": "n_layers layers depth",
    "num_heads": "n_heads nhead heads n_head",
    "num_outputs": "num_classes out_features n_classes classes",
    "dropout_rate": "dropout p drop_rate",
    "window_epochs": "patience",
    "min_relative": "min_delta",
    "num_keep": "save_top_k max_to_keep k top_k",
    "folds": "k n_splits num_folds n_folds cv",
    "test": "test_size",
    "val": "val_size valid validation_split val_fraction fraction",
    "microbatches": "accumulate_grad_batches gradient_accumulation_steps grad_accum accumulation_steps",
    "path": "file filename filepath root data_dir folder dir directory name",
    "target": "label label_column target_column y labels",
    "delimiter": "sep",
    "ignore": "drop drop_columns exclude",
    "dates": "parse_dates date_columns",
    "missing": "na_values nan dropna",
    "size": "img_size image_size resize resolution",
    "length": "seq_len max_length block_size context_length sequence_length max_len",
    "vocabulary_size": "vocab_size",
    "num_experiments": "num_trials n_iter n_trials num_samples",
    "num_trials": "n_trials n_iter num_samples num_experiments",
    "max_norm": "clip_val norm max_grad_norm",
    "label_smoothing": "smoothing",
    "monitor": "metric",
    "mode": "direction",
}


def meant(kind: str, name: object, options: Iterable[str]) -> str:
    """Return `; did you mean 'adam'?`, by what others call things or else by likeness, or a full stop."""
    options = list(options)
    for here in _called(kind).get(_letters(name), ()):
        plain = here.removeprefix("component('").partition("'")[0]
        if plain in options:
            return f"; did you mean {plain!r}?" + (f" Write {here}." if here != plain else "")
    return nearest(name, options)


def meant_field(name: str, options: Iterable[str]) -> str:
    """Return `; did you mean 'seed'?`, or what to write for what others write into configs, or what `nearest` does."""
    found = _called("field").get(_letters(name))
    if not found:
        return nearest(name, options)
    field = re.fullmatch(r"config\.(\w+) = (?:…|component\(…\))", found[0])
    if field:
        return f"; did you mean {field[1]!r}?"
    return f"; {'write ' * found[0].startswith('config.')}{found[0]}."


@functools.cache
def _called(kind: str) -> dict[str, tuple[str, ...]]:
    """Return what the words of others are called here, by their letters."""
    words = {"field": _FIELDS, "parameter": _PARAMETERS}.get(kind) or _WORDS.get(kind, {})
    found: dict[str, tuple[str, ...]] = {}
    for here, others in words.items():
        for word in others.split():
            found[_letters(word)] = (*found.get(_letters(word), ()), here)
    return found


def _letters(name: object) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).rpartition(".")[2].lower())
