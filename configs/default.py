"""Every field of a run. The defaults are the published recipe (Isola et al. 2017) as pytorch-CycleGAN-and-pix2pix
runs it. The other files of this folder override a few fields.

The comment of a field, beside it and on the lines below it, is its meaning: `pix2pix configs NAME` prints it. A comment
after an empty line is the heading of the fields below it.

Command: pix2pix train --config=default --workdir=runs/default
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    config = config_dict.ConfigDict()

    # Recipe.
    config.preset = "pytorch"  # the published system to follow: pytorch (pytorch-CycleGAN-and-pix2pix) | torch2017 (the
    # paper's own program) | tf_tutorial; or improved, one of our own. It sets the fields listed in
    # pix2pix_jax/configuration/presets.py; fields on the command line win over it

    # Data.
    config.dataset = "drawn_facades"  # drawn_facades (embedded) | folder | facades | maps | cityscapes | edges2shoes |
    # edges2handbags | night2day | given (by a program that calls pix2pix_jax.train)
    config.data_dir = ""  # folder: the directory of the images, or an .npz of two arrays; a published set: that of its
    # own files, or the one where TFDS keeps data sets ("": TFDS' default)
    config.data_url = ""  # a published set: another address of its archive; http, https or file
    config.direction = "AtoB"  # AtoB translates A, the left half, into B; BtoA the reverse
    config.color_space = "rgb"  # rgb | lab: colourisation; the data are single images (folder), or the targets of pairs
    config.a_folders = ("A",)  # folder: subfolders whose images are stacked as channels of A, for example rgb,depth
    config.b_folders = ("B",)  # folder: the same for B
    config.input_channels = 3  # 3 (RGB) and 1 (grey) convert the files; any other number must be that of the files
    config.target_channels = 3  # the same for the targets
    config.input_dtype = "auto"  # auto (one that holds the values of all training files) | uint8 | uint16 | float32
    config.target_dtype = "auto"  # the same for the targets
    config.input_range = config_dict.placeholder(tuple)  # (low, high): the stored values that become -1 and 1, for
    # example 0,4095; unset: 0,255 for uint8, 0,65535 for uint16; float32 needs it
    config.target_range = config_dict.placeholder(tuple)  # the same for the targets
    config.input_interpolation = "bicubic"  # when resizing: bicubic | bilinear | nearest (for label maps) | lanczos
    config.target_interpolation = "bicubic"  # the same for the targets
    config.image_size = (256, 256)  # (height, width) in pixels that the networks see
    config.resize_size = (286, 286)  # (height, width) that images are resized to before the random crop
    config.preprocess = "resize_and_crop"  # how a training pair gets its size: resize_and_crop (resize to resize_size,
    # then crop image_size at random) | crop (crop image_size, no resizing) | scale_width (scale to the width of
    # resize_size, keeping proportions) | scale_width_and_crop | none (no change). scale_width and none round both sides
    # to multiples that the generator takes, and image_size must be the result. crop and scale_width_and_crop crop on
    # the host
    config.mirror = True  # flip pairs left to right with probability one half
    config.augment = config_dict.ConfigDict()  # further random changes in training; 0 and False are off;
    # brightness and what follows it change only the input
    config.augment.rot90 = False  # both images turned by 0, 90, 180 or 270 degrees; needs a square image_size
    config.augment.flip_vertical = False  # both images upside down with probability one half
    config.augment.rotate_degrees = 0.0  # both images turned by at most this angle, either way; borders are mirrored
    config.augment.scale = 0.0  # both images zoomed by a factor from 1 - scale to 1 + scale
    config.augment.brightness = 0.0  # largest shift either way, where black is 0 and white 1
    config.augment.contrast = 0.0  # factor from 1 - contrast to 1 + contrast
    config.augment.saturation = 0.0  # factor from 1 - saturation to 1 + saturation; RGB inputs
    config.augment.hue = 0.0  # largest turn either way, as a part of the colour circle: 0.5 is half of it; RGB inputs
    config.augment.blur = 0.0  # largest sigma of the Gaussian, in pixels
    config.augment.noise = 0.0  # standard deviation of added noise, where black is -1 and white 1
    config.data_residency = "auto"  # auto | device (the split stays in device memory) | host (read when needed)
    config.allow_changed_data = False  # resume a run even if its training files have changed
    config.num_workers = -1  # processes that read images for the host, at most 256; 0: threads of this process; -1:
    # threads if the decoded split fits into a quarter of the host's free memory, where it then stays, else one process
    # less than there are cores

    # Length. One step is one batch; an epoch is num_examples / batch_size steps.
    config.batch_size = 1  # examples in a step, over all devices
    config.accumulate_steps = 1  # number of microbatches that a batch is cut into where it does not fit into memory;
    # one update follows from the mean of their gradients. Batch norm sees one microbatch at a time, and its running
    # statistics move once for each
    config.num_epochs = 200  # length in epochs
    config.num_steps = config_dict.placeholder(int)  # length in steps; wins over num_epochs when set
    config.seed = 0  # seed of initialisation, example order, crops, flips and dropout

    # Networks.
    config.compute_dtype = "float32"  # float32 | bfloat16; parameters and statistics are always float32
    config.norm_epsilon = 1e-5  # number added to variances
    config.norm_momentum = 0.9  # BatchNorm: running = norm_momentum * running + (1 - norm_momentum) * batch
    config.norm_scale_std = 0.02  # norms' scales are initialised by N(1, norm_scale_std)
    config.generator = config_dict.ConfigDict()
    config.generator.name = "unet"  # unet | resnet
    config.generator.features = 64  # width of the first layer; widths double to 8 (resnet: 4) times this
    config.generator.norm = "batch"  # batch | instance | group | none
    config.generator.bias = "auto"  # auto (the last layer; the others under instance norm) | always | last | never
    config.generator.slope = 0.2  # unet: slope of the encoder's leaky ReLU below 0
    config.generator.dropout = 0.5  # dropout rate; unet: on inner decoder layers, resnet: inside blocks; 0: none
    config.generator.dropout_layers = config_dict.placeholder(tuple)  # unet: decoder layers that have dropout, for
    # example 1,2,3, 1 being the innermost; unset: 2 to num_downs - 4
    config.generator.num_downs = 0  # unet: number of halvings to the bottleneck; 0: down to 1 pixel, as published
    config.generator.skips = True  # unet: skip connections; False is the paper's encoder-decoder ablation
    config.generator.bottleneck_norm = False  # unet: whether to normalise the bottleneck too
    config.generator.decoder_activation = "after_concat"  # unet: after_concat | before_concat
    config.generator.num_blocks = 9  # resnet: number of residual blocks
    config.discriminator = config_dict.ConfigDict()
    config.discriminator.name = "patchgan"  # patchgan
    config.discriminator.features = 64  # width of the first layer; widths double to 8 times this
    config.discriminator.num_layers = 3  # strided layers, 0 to 5: 3 judges patches of 70x70 pixels, 0 single pixels
    config.discriminator.norm = "batch"  # batch | instance | group | none
    config.discriminator.bias = "auto"  # auto (first and last layer; the others under instance norm) | always | ...
    config.discriminator.slope = 0.2  # slope of the leaky ReLU below 0
    config.discriminator.padding = "zero"  # zero | reflect
    config.discriminator.conditional = True  # whether it sees the input too; False is the paper's GAN ablation
    config.discriminator.spectral_norm = False  # whether to divide each kernel by its largest singular value
    config.discriminator.vision_aided = False  # whether heads judge LPIPS' AlexNet's activations too; RGB targets
    config.discriminator.num_scales = 1  # one discriminator at full size, one at half size, ... (pix2pixHD)

    # Start.
    config.init_from = ""  # what the networks begin with instead of random parameters: the workdir of a run, a .pth or
    # .safetensors file, or hf://USER/NAME. It is read before step 0 only. See docs/training.md
    config.freeze = (
        ""  # layers of the generator that keep the parameters of init_from: "" (none) | encoder | inner (all
    )
    # but the first and the last layer, whose channels the data set). Running statistics of norms still move

    # Losses, of images in [-1, 1]; logs hold them unweighted. pix2pix_jax/gan/objective.py computes them.
    config.gan_loss = "vanilla"  # vanilla | lsgan | hinge | wgan-gp
    config.gan_weight = 1.0  # weight of the generator's GAN loss; 0: no discriminator is trained
    config.l1_weight = 100.0  # weight of mean |target - output|
    config.l2_weight = 0.0  # weight of mean (target - output)^2
    config.charbonnier_weight = 0.0  # weight of mean sqrt((target - output)^2 + 1e-6)
    config.feature_weight = 0.0  # weight of feature matching; 10 in pix2pixHD
    config.perceptual_weight = 0.0  # weight of LPIPS, whose AlexNet is downloaded once; RGB targets
    config.d_loss_scale = 0.5  # factor of the discriminator's loss on fake plus real
    config.label_smoothing = 0.0  # the discriminator's label of real images is 1 minus this (vanilla, lsgan)
    config.gradient_penalty = 10.0  # weight of the gradient penalty of wgan-gp
    config.diff_augment = ()  # random changes of all that the discriminator sees, so that it does not learn a few pairs
    # by heart: any of color,translation,cutout (DiffAugment); unset: none
    config.r1_weight = 0.0  # gamma of the R1 penalty of the discriminator

    # Optimisation.
    config.update_order = "sequential"  # sequential: the generator meets the updated discriminator | simultaneous
    config.learning_rate = 2e-4  # of both Adams, before its schedule
    config.b1 = 0.5  # Adam's beta 1
    config.b2 = 0.999  # Adam's beta 2
    config.eps = 1e-8  # Adam's epsilon
    config.schedule = "linear"  # constant | linear (to 0 over the second half) | step | cosine
    config.schedule_drop_epochs = 50  # schedule step: number of epochs after which the rate drops to a tenth
    config.ema_decay = 0.0  # decay of a moving average of the generator, for example 0.999; 0: none is kept

    # Inference, in sample grids, evaluate and translate. As published, dropout stays on, and a picture is normalised by
    # its own statistics, as training at batch size 1 does.
    config.inference = config_dict.ConfigDict()
    config.inference.norm_stats = "instance"  # instance | batch (statistics of all pictures in a batch: 1 for each
    # device on a CPU, 16 on others; the last batch may have fewer) | running (averages of training)
    config.inference.dropout = "on"  # on | off
    config.inference.weights = "latest"  # latest | ema (needs ema_decay)

    # Devices.
    config.mesh = config_dict.ConfigDict()
    config.mesh.data = -1  # number of devices that share a batch; -1: as many as divide a batch (or microbatch)
    config.mesh.rows = 1  # number of devices that share the rows of an image, for images too large for one device; it
    # must divide the height
    config.shard_optimizer = False  # whether to spread Adam's moments over mesh.data, for large networks; saves up to 8
    # bytes for each parameter
    config.remat = False  # whether backward passes compute norms, activations and dropout again instead of keeping
    # them. At 512 px and batch 16 a step takes 3.8 GB beside the state instead of 6.9, for 0.2 % more arithmetic
    # (compiled by XLA for a CPU, to save memory); at batch 1 nothing is gained

    # Logs and checkpoints; periods are in steps, 0 switches off.
    config.log_every_steps = 50  # writes mean losses since the last time to metrics.jsonl and TensorBoard
    config.log_to = (
        "none"  # where losses, metrics and samples go too: none | wandb | trackio, each a package to install
    )
    config.sample_every_steps = 400  # writes a grid of input | output | target to samples/ and TensorBoard
    config.num_samples = 4  # rows of that grid
    config.checkpoint_every_steps = 4000  # writes a checkpoint; one is also written at the end and on Ctrl-C
    config.keep_checkpoints = 3  # number of latest checkpoints to keep; the best one is kept too
    config.eval_every_steps = 4000  # translates the split val and writes metrics to metrics.jsonl and TensorBoard; also
    # done at the end
    config.eval_metrics = ("l1", "psnr", "ssim")  # any of l1, psnr, ssim, ms_ssim, lpips, labels, fid, kid, clean_fid,
    # clean_kid; see docs/evaluation.md
    config.palette = "auto"  # colours of the classes, for the metric labels: auto (if known for the data set) | none |
    # facades | cityscapes | a .json file {"CLASS": [R, G, B], ...}
    config.best_metric = "l1"  # metric by which `--step=best` is chosen; for labels one of pixel_accuracy,
    # class_accuracy, mean_iou. l1 needs no network but prefers blurred pictures; lpips, fid and kid choose better ones
    config.profile_steps = config_dict.placeholder(tuple)  # (first, last) steps to trace, for example 100,110; traces
    # of devices and host go to plugins/profile/, for TensorBoard and ui.perfetto.dev; unset: none

    return config.lock()
