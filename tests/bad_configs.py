"""Bad configs for test_bad_input.py: what the message must say, and what is wrong in an otherwise good config."""

from bad_requests import bad, own

CONFIGS = [
    bad(
        "component",
        r"config\.model: unknown model 'linaer'; did you mean 'linear'\? Registered: ",
        edit="config.model = component('linaer')",
    ),
    bad(
        "parameter",
        r"config\.model\.featurs: unknown parameter of model 'mlp'; did you mean 'features'\? Parameters: ",
        edit="config.model = component('mlp', featurs=(3,))",
    ),
    bad(
        "missing parameter",
        r"config\.optimizer\.learning_rate: missing; .* component\('adam', learning_rate=…\)",
        edit="config.optimizer = component('adam')",
    ),
    bad(
        "parallel",
        r"config\.parallel: unknown parallel 'fdsp'; did you mean 'fsdp'\? Registered: auto, data, fsdp",
        edit="config.parallel = component('fdsp')",
    ),
    bad(
        "rule of no parameter",
        r"config\.parallel\.rules\.0\.0: 'kernl' is found in no .*; did you mean 'kernel'\? Parameters: Dense_0/bias",
        edit="config.parallel = component('fsdp', rules=(('kernl', 0),))",
    ),
    bad(
        "no rule",
        r"config\.parallel\.rules\.0\.1: wrong type: found \(\('kernel', 'x'\),\), parallel 'data' takes ",
        edit="config.parallel = component('data', rules=(('kernel', 'x'),))",
    ),
    bad(
        "field", r"config\.num_epoch: unknown field; did you mean 'num_epochs'\? Fields: ", edit="config.num_epoch = 3"
    ),
    bad(
        "no length",
        r"config\.num_epochs: missing: passes over .*; write config\.num_epochs = …, or config\.num_steps = … to",
        edit="del config.num_epochs",
    ),
    bad(
        "two lengths",
        r"config\.num_steps: found 9 beside num_epochs = 1; .* the other one to None, as in --config\.num_epochs=None",
        edit="config.num_steps = 9",
    ),
    bad(
        "a swept length that is none",
        r"config\.num_steps: an integer is expected, found None \(training steps, in place of num_epochs\)",
        edit="config.num_epochs = None; config.num_steps = grid(None, 3)",
    ),
    bad(
        "evaluations without a step between",
        r"config\.evaluate_every_steps: at least 1 is expected, found 0",
        edit="config.evaluate_every_steps = 0",
    ),
    bad(
        "section",
        r"config\.early_stoping: .* do nothing; did you mean 'early_stopping'\?",
        edit="config.early_stoping = component('nan')",
    ),
    bad("missing section", r"config\.loss: missing; write config\.loss = component\(…\)", edit="del config.loss"),
    bad(
        "kind",
        r"config\.model: unknown kind 'modle'; did you mean 'model'\? Kinds: ",
        edit="config.model = component('modle/mlp')",
    ),
    bad(
        "type",
        r"config\.loader\.batch_size: wrong type: found '10', loader 'in_memory' takes an integer",
        edit="config.loader = component('in_memory', batch_size='10')",
    ),
    bad(
        "type of a tuple",
        r"config\.model\.features: wrong type: found 'big', model 'mlp' takes a tuple of integers",
        edit="config.model = component('mlp', features='big')",
    ),
    bad(
        "schedule as optimizer",
        r"config\.optimizer: .*'cosine_decay_schedule' is of kind 'schedule'; write component\('…', learning_rate=",
        edit="config.optimizer = component('cosine_decay_schedule', init_value=0.1, decay_steps=3)",
    ),
    bad(
        "optimizer as rate",
        r"config\.optimizer\.learning_rate: .* takes a number or a schedule",
        edit="config.optimizer = component('sgd', learning_rate=component('sgd', learning_rate=0.1))",
    ),
    bad(
        "empty sweep", r"config\.optimizer\.learning_rate: empty sweep", edit="config.optimizer.learning_rate = grid()"
    ),
    bad(
        "second value",
        r"config\.loader\.batch_size: found 0; a batch has",
        edit="config.loader.batch_size = grid(10, 0)",
    ),
    bad(
        "huge sweep",
        r"config\.optimizer\.learning_rate: the grids make 10,000,000 experiments \(.*\); a run takes 100,000",
        edit="config.optimizer.learning_rate = grid(*range(1, 5001)); config.seed = grid(*range(2000))",
    ),
    bad("huge grid", r"line \d+: grid\(…\): found 10,000,000 values; a run takes 100,000", edit="grid(*range(10**7))"),
    bad(
        "range",
        r"config\.optimizer\.learning_rate: uniform\(…\) is drawn by a random search; write config\.search = ",
        edit="config.optimizer.learning_rate = uniform(0.1, 1.0)",
    ),
    bad(
        "empty range",
        r"log_uniform\(low, high\) needs numbers with low < high, found 1\.0, 0\.1",
        edit="config.optimizer.learning_rate = log_uniform(1.0, 0.1)",
    ),
    bad(
        "search",
        r"config\.search: unknown search 'randm'; did you mean 'random'\? Registered: ",
        edit="config.search = component('randm', num_experiments=3)",
    ),
    bad(
        "search without its number",
        r"config\.search\.num_experiments: missing; search 'random' requires it",
        edit="config.search = component('random')",
    ),
    bad(
        "search of nothing",
        r"config\.search: there is nothing to draw; write uniform\(low, high\)",
        edit="config.search = component('random', num_experiments=3)",
    ),
    bad(
        "swept search",
        r"config\.search: a search cannot be swept itself; write config\.search = component\(…\)",
        edit="config.search = grid(component('random', num_experiments=3), component('grid'))",
    ),
    bad(
        "search that raises",
        r"config\.search: search 'own' failed: ValueError: no idea",
        top=own("search", "def s():\n    def search(study): raise ValueError('no idea')\n    return search"),
        edit="config.search = component('own')",
    ),
    bad(
        "cycle",
        r"config\.alpha: needs form a cycle: alpha -> beta -> alpha; rewire one of them",
        top=own("alpha", "def a(beta): pass", ", needs=('beta',)")
        + "\n"
        + own("beta", "def b(alpha): pass", ", needs=('alpha',)"),
        edit="config.alpha = component('own'); config.beta = component('own')",
    ),
    bad(
        "missing need",
        r"config\.gadget: gadget 'own' needs the section 'datset', which is missing; did you mean 'dataset'\?",
        top=own("gadget", "def g(datset): pass", ", needs=('datset',)"),
        edit="config.gadget = component('own')",
    ),
    bad(
        "batch of 0",
        r"config\.loader\.batch_size: found 0; a batch has at least 1 example",
        edit="config.loader.batch_size = 0",
    ),
    bad(
        "batch below 0",
        r"config\.loader\.batch_size: found -1; a batch has at least 1 example",
        edit="config.loader.batch_size = -1",
    ),
    bad(
        "no whole batch",
        r"config\.loader\.batch_size: found 99, but there are only 30 training examples .* at most 30",
        edit="config.loader = component('in_memory', batch_size=99, drop_last=True)",
    ),
    bad(
        "fraction",
        r"config\.validation\.val: found 1\.5; .* in \[0, 1\)",
        edit="config.validation = component('holdout', val=1.5)",
    ),
    bad(
        "fractions",
        r"config\.validation\.val: val=0\.5 and test=0\.5 leave nothing to train on; lower one",
        edit="config.validation = component('holdout', val=0.5, test=0.5)",
    ),
    bad(
        "no validation part",
        r"config\.checkpointing\.monitor: no score 'val/loss' will exist.* Scores: train/accuracy, train/loss",
        edit="config.validation.val = 0.0; config.checkpointing = component('best', monitor='val/loss', mode='min')",
    ),
    bad(
        "class of one member",
        r"config\.validation\.stratified: class 1 has 1 example.*stratified=False",
        top=own(
            "dataset",
            "def d(): return mg.Dataset({'train': {'inputs': np.ones((9, 2)), 'targets': np.eye(9, dtype=int)[8]}}, 2)",
        ),
        edit="config.dataset = component('own'); config.validation = component('holdout', val=0.3, stratified=True)",
    ),
    bad(
        "monitor to stop by",
        r"config\.early_stopping\.monitor: no score 'val/acuracy' will exist; did you mean 'val/accuracy'\?",
        edit="config.early_stopping = component('threshold', monitor='val/acuracy', mode='max', value=1.0)",
    ),
    bad(
        "monitor to keep by",
        r"config\.checkpointing\.monitor: no score 'val/f1' will exist\. Scores: train/accuracy, ",
        edit="config.checkpointing = component('best', monitor='val/f1', mode='max')",
    ),
    bad(
        "mode",
        r"config\.checkpointing\.mode: wrong value: found 'maximum', .* 'min', 'max' as mode; did you mean 'max'\?",
        edit="config.checkpointing = component('best', monitor='val/loss', mode='maximum')",
    ),
    bad(
        "data folder",
        r"config\.dataset\.data_dir: the folder '\S+config\.py' .*File exists.* MLGYM_JAX_DATA_DIR",
        edit="config.dataset = component('digits', data_dir=__file__)",
    ),
    bad(
        "NaN",
        r"config\.optimizer\.learning_rate: nan cannot be recorded in JSON",
        edit="config.optimizer.learning_rate = float('nan')",
    ),
    bad(
        "a function",
        r"config\.model\.activation: found <function \S+<lambda>>; a function cannot be recorded",
        edit="config.model = component('mlp', activation=lambda x: x)",
    ),
    bad(
        "an array",
        r"config\.model\.features: an array cannot be recorded in a config; write a list",
        edit="config.model = component('mlp', features=np.ones(2))",
    ),
    bad(
        "a module",
        r"config\.model: found Dense\(.*; a Dense cannot be recorded in a config",
        edit="config.model = nn.Dense(3)",
    ),
    bad(
        "metrics without names",
        r"config\.metrics: components by names .* write config\.metrics = dict\(",
        edit="config.metrics = component('accuracy')",
    ),
]

COMPONENTS = [
    bad(
        "loss of the other kind",
        r"config\.loss: .*outputs float32\[10, 2\] and targets int32\[10\] do not match",
        edit="config.loss = component('l2_loss')",
    ),
    bad(
        "loss reduced",
        r"config\.loss: a loss returns one value an example, float\[10\].* found shape \(\)",
        top=own("loss", "def l(): return lambda outputs, batch: outputs.mean()"),
        edit="config.loss = component('own')",
    ),
    bad(
        "loss is none",
        r"config\.loss: a callable \(outputs, batch\) .* loss 'own' returned None",
        top=own("loss", "def l(): pass"),
        edit="config.loss = component('own')",
    ),
    bad(
        "no train split",
        r"config\.dataset: it has no split 'train'; did you mean 'training'\? Splits: training",
        top=own(
            "dataset",
            "def d(): return mg.Dataset({'training': {'inputs': np.zeros((9, 2)), 'targets': np.zeros(9, int)}}, 2)",
        ),
        edit="config.dataset = component('own')",
    ),
    bad(
        "no inputs",
        r"config\.dataset: its examples have no field 'inputs'.* Fields: x, targets",
        top=own(
            "dataset", "def d(): return mg.Dataset({'train': {'x': np.zeros((9, 2)), 'targets': np.zeros(9, int)}}, 2)"
        ),
        edit="config.dataset = component('own')",
    ),
    bad(
        "dataset is none",
        r"config\.dataset: mg\.Dataset\(splits=.* is expected, dataset 'own' returned None",
        top=own("dataset", "def d(): pass"),
        edit="config.dataset = component('own')",
    ),
    bad(
        "metric is junk",
        r"config\.metrics\.mine: .*init, update, merge, compute",
        top=own("metric", "def m(): return 7"),
        edit="config.metrics = dict(mine=component('own'))",
    ),
    bad(
        "metric raises",
        r"config\.metrics\.mine: RuntimeError: my metric says no",
        edit="config.metrics = dict(mine=component('own'))",
        top=own(
            "metric",
            "def m():\n    def update(*_): raise RuntimeError('my metric says no')\n"
            "    return mg.Metric(dict, update, update, update)",
        ),
    ),
    bad(
        "model raises",
        r"config\.model: ValueError: images of 28x28 are wanted",
        edit="config.model = component('own')",
        top=own(
            "model",
            "class M(nn.Module):\n    @nn.compact\n"
            "    def __call__(self, x): raise ValueError('images of 28x28 are wanted')",
        ),
    ),
    bad(
        "model factory raises",
        r"config\.model: model 'own' could not be built: OSError: no weights",
        edit="config.model = component('own')",
        top=own("model", "def m(): raise OSError('no weights')"),
    ),
    bad(
        "model is none",
        r"config\.model: found NoneType; a model factory returns a Flax Linen module or",
        top=own("model", "def m(): pass"),
        edit="config.model = component('own')",
    ),
    bad(
        "optimizer is none",
        r"config\.optimizer: an optax\.GradientTransformation is expected, optimizer 'own' returned None",
        top=own("optimizer", "def o(): pass"),
        edit="config.optimizer = component('own')",
    ),
    bad(
        "policy is a number",
        r"config\.checkpointing: a callable \(history\) .* checkpointing 'own' returned 3",
        top=own("checkpointing", "def c(): return 3"),
        edit="config.checkpointing = component('own')",
    ),
    bad(
        "loss returns nothing",
        r"config\.loss: a loss returns one value an example, .*; found None; does it end with `return`\?",
        top=own("loss", "def l():\n    def loss(outputs, batch): pass\n    return loss"),
        edit="config.loss = component('own')",
    ),
    bad(
        "loss looks up what is not there",
        r"config\.loss: it looks up 'target', which is not there \(KeyError\)",
        top=own("loss", "def l(): return lambda outputs, batch: batch['target']"),
        edit="config.loss = component('own')",
    ),
    bad(
        "dropout",
        r"config\.model\.dropout_rate: a number in \[0, 1\) is expected, found 1\.5",
        edit="config.model = component('mlp', dropout_rate=grid(0.1, 1.5))",
    ),
    bad(
        "averaging",
        r"config\.averaging\.decay: a number in \[0, 1\) is expected, found 2\.0",
        edit="config.averaging = component('ema', decay=2.0)",
    ),
    bad(
        "microbatches",
        r"config\.loader\.microbatches: found 4, which does not divide batch_size=10 .* is 5\. Allowed: 1, 2, 5, 10",
        edit="config.loader.microbatches = grid(1, 4)",
    ),
    bad(
        "microbatches of what sees a batch",
        r"config\.loader\.microbatches: the loss is not known to compute each example of a batch by itself, ",
        top=own("loss", "def l(): return lambda outputs, batch: outputs.sum(axis=1) - outputs.mean()"),
        edit="config.loss = component('own'); config.loader.microbatches = 2",
    ),
    bad(
        "float16",
        r"config\.precision\.compute: found float16, whose gradients vanish .*\. Allowed: bfloat16, ",
        edit="config.precision = component('mixed', compute='float16')",
    ),
    bad(
        "no precision",
        r"config\.precision\.compute: found 'bfloat'; did you mean 'bfloat16'\? Allowed: bfloat16, ",
        edit="config.precision = component('mixed', compute='bfloat')",
    ),
    bad(
        "remat",
        r"config\.remat: unknown remat 'block'; did you mean 'blocks'\? Registered: blocks, dots, everything",
        edit="config.remat = component('block')",
    ),
    bad(
        "no blocks",
        r"config\.remat: no blocks are found in the model MLP: .* Modules inside of it: Dense\. Write ",
        edit="config.remat = component('blocks')",
    ),
    bad(
        "more than all outputs",
        r"config\.post_processors\.top: top_k: k=3 is more than the 2 outputs",
        edit="config.post_processors = dict(top=component('top_k', k=3))",
    ),
    bad(
        "one class",
        r"config\.dataset: fold 0, split 'train': all of its \d+ examples are of class 1; nothing can",
        edit="config.dataset = component('filter_labels', keep=(1,), dataset=config.dataset)",
    ),
    bad(
        "column of a transform",
        r"config\.dataset\.dataset\.columns\.0: there is no column 'hues'; did you mean 'hue'\? Columns: alcohol, ",
        edit="config.dataset = component('shuffle', "
        "dataset=component('select_columns', columns=('hues',), dataset=component('wine')))",
    ),
    bad(
        "column of an encoding",
        r"config\.encoding\.groups\.0\.0\.0: there is no column 9; columns are 0 … 3",
        edit="config.encoding = component('by_column', groups=(((9,), component('one_hot')),))",
    ),
    bad(
        "weights of a sampler",
        r"config\.sampler\.weights: found 3 weights; the dataset has 2 classes",
        edit="config.sampler = component('class_weighted', weights=(1.0, 2.0, 3.0))",
    ),
    bad(
        "file of a dataset",
        r"config\.dataset\.path: there is no file '\S+/none\.csv'",
        edit="config.dataset = component('csv', path='none.csv', target='y', task='regression')",
    ),
]
