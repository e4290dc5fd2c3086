"""Every field of a run, with the published recipe as its default (Isola et al. 2017, as the popular PyTorch
implementation runs it). The other files of this folder override a few fields for one data set.

Command: pix2pix train --config=default --workdir=runs/default
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    config = config_dict.ConfigDict()

    # Data.
    config.dataset = "drawn_facades"  # drawn_facades (embedded) | folder | facades
    config.data_dir = (
        ""  # folder: the images; facades: its own files, or where TFDS keeps data sets ("": TFDS' default)
    )
    config.direction = "AtoB"  # which half is the input: AtoB translates the left half into the right, BtoA the reverse
    config.input_channels = 3  # 3: RGB, 1: grey
    config.target_channels = 3
    config.image_size = (256, 256)  # (height, width) in pixels that the networks see
    config.resize_size = (
        286,
        286,
    )  # (height, width) that images are resized to before the random crop
    config.mirror = True  # flip pairs left to right with probability one half
    config.data_residency = "auto"  # auto | device (the split stays in device memory) | host (decoded as it is needed)

    # Length. One step is one batch; an epoch is num_examples / batch_size steps.
    config.batch_size = 1  # of all devices together
    config.num_epochs = 200
    config.num_steps = config_dict.placeholder(int)  # wins over num_epochs when set
    config.seed = 0  # of initialisation, example order, crops, flips and dropout

    # Networks.
    config.compute_dtype = "float32"  # float32 | bfloat16; parameters and statistics are always float32
    config.generator = config_dict.ConfigDict()
    config.generator.name = "unet"
    config.generator.features = 64  # width of the first layer; widths double to 8 times this
    config.generator.num_downs = 0  # halvings from image to bottleneck; 0: down to 1 pixel, as published
    config.generator.norm = "batch"  # batch | instance | none
    config.generator.dropout = 0.5  # rate on the inner decoder layers; 0: none
    config.discriminator = config_dict.ConfigDict()
    config.discriminator.name = "patchgan"
    config.discriminator.features = 64  # width of the first layer; widths double to 8 times this
    config.discriminator.num_layers = 3  # strided layers: 3 judges patches of 70x70; 0 single pixels; at most 5
    config.discriminator.norm = "batch"  # batch | instance | none

    # Losses and optimisation.
    config.gan_loss = "vanilla"  # vanilla | lsgan | hinge
    config.l1_weight = 100.0  # weight of mean |target - output|, images in [-1, 1]; the GAN loss weighs 1
    config.update_order = "sequential"  # sequential: the generator meets the updated discriminator | simultaneous
    config.learning_rate = 2e-4
    config.b1 = 0.5  # Adam's momenta
    config.b2 = 0.999
    config.schedule = "linear"  # constant | linear (to 0 over the second half) | step | cosine
    config.schedule_drop_epochs = 50  # schedule "step": epochs between drops to a tenth

    # Inference: sample grids, evaluate, translate. As published, dropout stays on and a picture is normalised by its
    # own statistics (what batch size 1 in training mode does), whatever shares its batch.
    config.inference = config_dict.ConfigDict()
    config.inference.norm_stats = "instance"  # instance | batch (those of the whole batch) | running (of training)
    config.inference.dropout = "on"  # on | off

    # Devices: data shards the batch (-1: as many devices as divide it), rows shards image height.
    config.mesh = config_dict.ConfigDict()
    config.mesh.data = -1
    config.mesh.rows = 1

    # Logs and checkpoints; periods are in steps, 0 switches off.
    config.log_every_steps = 50  # mean losses since the last time to metrics.jsonl and TensorBoard
    config.sample_every_steps = 400  # a grid of input | output | target to samples/ and TensorBoard
    config.num_samples = 4  # rows of that grid
    config.checkpoint_every_steps = 4000  # one is written at the end and on Ctrl-C in any case
    config.keep_checkpoints = 3  # the latest ones

    return config.lock()
