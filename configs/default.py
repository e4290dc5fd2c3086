"""Every field of a run, with the published recipe as its default (Isola et al. 2017, as the popular PyTorch
implementation runs it). The other files of this folder override a few fields.

Command: pix2pix train --config=default --workdir=runs/default
"""

from ml_collections import config_dict


def get_config() -> config_dict.ConfigDict:
    config = config_dict.ConfigDict()

    # A system whose networks, losses and optimiser to take: pytorch | torch2017 (the paper's program) | tf_tutorial.
    # Sets the fields that are listed in pix2pix_jax/config/presets.py; those given on the command line beside it win.
    config.preset = "pytorch"

    # Data.
    config.dataset = "drawn_facades"  # drawn_facades (embedded) | folder | facades | maps | cityscapes | edges2shoes |
    # edges2handbags | night2day
    config.data_dir = ""  # folder: the images, or an .npz of two arrays; a published set: its own files, or where TFDS
    # keeps data sets ("": TFDS' default)
    config.data_url = ""  # a published set: the archive's address, if not the published one; http, https or file
    config.direction = "AtoB"  # what is the input: AtoB translates A, the left half, into B; BtoA the reverse
    config.color_space = "rgb"  # rgb | lab: colourisation, of photographs (folder: single images) or of the targets
    config.a_folders = ("A",)  # folder: those of separate images whose images are stacked to A, as rgb,depth
    config.b_folders = ("B",)  # and to B
    config.input_channels = 3  # 3: RGB, 1: grey, made of the files' where need be; another number must be their own
    config.target_channels = 3
    config.input_dtype = "auto"  # auto (what holds the values of all training files) | uint8 | uint16 | float32
    config.target_dtype = "auto"
    config.input_range = config_dict.placeholder(tuple)  # (low, high), the values that become -1 and 1, as 0,4095;
    # unset: 0,255 of uint8 and 0,65535 of uint16; float32 needs it
    config.target_range = config_dict.placeholder(tuple)
    config.input_interpolation = "bicubic"  # of resizing: bicubic | bilinear | nearest (for label maps) | lanczos
    config.target_interpolation = "bicubic"
    config.image_size = (256, 256)  # (height, width) in pixels that the networks see
    config.resize_size = (286, 286)  # (height, width) that images are resized to before the random crop
    config.preprocess = "resize_and_crop"  # how a training pair gets its size: resize_and_crop (to resize_size, then a
    # random crop of image_size) | crop (that of the image as it is) | scale_width (to resize_size's width, the height
    # in proportion) | scale_width_and_crop | none (as it is). scale_width and none round both sides to what the
    # generator takes, and image_size must be the result. The modes that crop from other sizes do so on the host
    config.mirror = True  # flip pairs left to right with probability one half
    config.augment = config_dict.ConfigDict()  # further random changes in training; 0 and False are off
    config.augment.rot90 = False  # both images turned by 0, 90, 180 or 270 degrees; needs a square image_size
    config.augment.flip_vertical = False  # both images upside down with probability one half
    config.augment.rotate_degrees = 0.0  # both images turned by at most this, either way; borders are mirrored
    config.augment.scale = 0.0  # both images zoomed by a factor within 1 - scale to 1 + scale
    config.augment.brightness = 0.0  # this and the rest change the input alone: the largest shift, of a range of 1
    config.augment.contrast = 0.0  # factor within 1 - contrast to 1 + contrast
    config.augment.saturation = 0.0  # factor, likewise; of RGB inputs
    config.augment.hue = 0.0  # the largest turn of the colour circle, 0.5 is half of it; of RGB inputs
    config.augment.blur = 0.0  # the largest sigma of a Gaussian, in pixels
    config.augment.noise = 0.0  # standard deviation, of a range of 2
    config.data_residency = "auto"  # auto | device (the split stays in device memory) | host (read as it is needed)
    config.allow_changed_data = False  # go on with a run whose training files are no longer those it began with
    config.num_workers = (
        -1
    )  # processes that read it for the host, at most 256: 0: threads of this process instead; -1: 0 where the
    # split fits in a quarter of the host's free memory, where it stays once decoded, else one a core but one

    # Length. One step is one batch; an epoch is num_examples / batch_size steps.
    config.batch_size = 1  # of all devices together
    config.accumulate_steps = 1  # in how many parts, one after the other, a batch is taken where it does not fit into
    # memory; one update from the mean of their gradients. Batch norm then sees a part at a time, and its running
    # statistics move once a part
    config.num_epochs = 200
    config.num_steps = config_dict.placeholder(int)  # wins over num_epochs when set
    config.seed = 0  # of initialisation, example order, crops, flips and dropout

    # Networks.
    config.compute_dtype = "float32"  # float32 | bfloat16; parameters and statistics are always float32
    config.norm_epsilon = 1e-5  # added to variances
    config.norm_momentum = 0.9  # of BatchNorm's running statistics: what stays of them at a step
    config.norm_scale_std = 0.02  # norms' scales start as N(1, norm_scale_std)
    config.generator = config_dict.ConfigDict()
    config.generator.name = "unet"  # unet | resnet
    config.generator.features = 64  # width of the first layer; widths double to 8 (resnet: 4) times this
    config.generator.norm = "batch"  # batch | instance | group | none
    config.generator.bias = "auto"  # auto (the last layer; the others under instance norm) | always | last | never
    config.generator.slope = 0.2  # unet: of the encoder's leaky ReLU
    config.generator.dropout = 0.5  # rate on the inner decoder layers, or inside residual blocks; 0: none
    config.generator.dropout_layers = config_dict.placeholder(tuple)  # unet: decoder layers that have it, 1 the
    # innermost, as 1,2,3; unset: 2 to num_downs - 4
    config.generator.num_downs = 0  # unet: halvings from image to bottleneck; 0: down to 1 pixel, as published
    config.generator.skips = True  # unet: False is the paper's encoder-decoder ablation
    config.generator.bottleneck_norm = False  # unet: normalise the bottleneck too
    config.generator.decoder_activation = "after_concat"  # unet: after_concat | before_concat
    config.generator.num_blocks = 9  # resnet: residual blocks
    config.discriminator = config_dict.ConfigDict()
    config.discriminator.name = "patchgan"
    config.discriminator.features = 64  # width of the first layer; widths double to 8 times this
    config.discriminator.num_layers = 3  # strided layers: 3 judges patches of 70x70; 0 single pixels; at most 5
    config.discriminator.norm = "batch"  # batch | instance | group | none
    config.discriminator.bias = "auto"  # auto (first and last layer; the others under instance norm) | always | ...
    config.discriminator.slope = 0.2  # of the leaky ReLU
    config.discriminator.padding = "zero"  # zero | reflect
    config.discriminator.conditional = True  # whether it sees the input; False is the paper's GAN ablation
    config.discriminator.spectral_norm = False
    config.discriminator.num_scales = 1  # one discriminator at full size, one at half size, ... (pix2pixHD)

    # Losses. Images are in [-1, 1]; the generator's and the discriminator's are logged unweighed.
    config.gan_loss = "vanilla"  # vanilla | lsgan | hinge | wgan-gp
    config.gan_weight = 1.0  # 0: no discriminator is trained
    config.l1_weight = 100.0  # of mean |target - output|
    config.l2_weight = 0.0  # of mean (target - output)^2
    config.charbonnier_weight = 0.0  # of mean sqrt((target - output)^2 + 1e-6)
    config.feature_weight = 0.0  # of feature matching; 10 in pix2pixHD
    config.d_loss_scale = 0.5  # of the discriminator's loss on fake plus real
    config.label_smoothing = 0.0  # the discriminator's label of real pictures is 1 less this (vanilla, lsgan)
    config.gradient_penalty = 10.0  # of wgan-gp
    config.r1_weight = 0.0  # gamma of the R1 penalty of the discriminator

    # Optimisation.
    config.update_order = "sequential"  # sequential: the generator meets the updated discriminator | simultaneous
    config.learning_rate = 2e-4
    config.b1 = 0.5  # Adam's momenta
    config.b2 = 0.999
    config.eps = 1e-8  # Adam's
    config.schedule = "linear"  # constant | linear (to 0 over the second half) | step | cosine
    config.schedule_drop_epochs = 50  # schedule "step": epochs between drops to a tenth
    config.ema_decay = 0.0  # of a moving average of the generator, as 0.999; 0: none is kept

    # Inference: sample grids, evaluate, translate. As published, dropout stays on and a picture is normalised by its
    # own statistics (what batch size 1 in training mode does), whatever shares its batch.
    config.inference = config_dict.ConfigDict()
    config.inference.norm_stats = "instance"  # instance | batch (of the pictures that go through the network together,
    # one a device on a CPU, else 16; a partial batch is not filled up) | running (of training)
    config.inference.dropout = "on"  # on | off
    config.inference.weights = "latest"  # latest | ema (needs ema_decay)

    # Devices.
    config.mesh = config_dict.ConfigDict()
    config.mesh.data = -1  # over how many the batch is spread; -1: as many as divide it, or a part of accumulate_steps
    config.mesh.rows = 1  # over how many image height is, which they divide: for images that do not fit into one
    config.shard_optimizer = False  # spread Adam's moments over mesh.data, for large networks: 8 bytes a parameter less
    config.remat = False  # compute norms, activations and dropout again in backward passes instead of keeping them: at
    # 512 px and batch 16, 3.8 GB beside the state instead of 6.9 for 0.2 % more arithmetic (compiled by XLA for a CPU,
    # to save memory); at batch 1 nothing is gained

    # Logs and checkpoints; periods are in steps, 0 switches off.
    config.log_every_steps = 50  # mean losses since the last time to metrics.jsonl and TensorBoard
    config.sample_every_steps = 400  # a grid of input | output | target to samples/ and TensorBoard
    config.num_samples = 4  # rows of that grid
    config.checkpoint_every_steps = 4000  # one is written at the end and on Ctrl-C in any case
    config.keep_checkpoints = 3  # the latest ones; the best one is kept beside them
    config.eval_every_steps = 4000  # the split val is translated, and compared with its targets, to metrics.jsonl and
    # TensorBoard; at the end too
    config.eval_metrics = ("l1", "psnr", "ssim")  # of l1, psnr, ssim, ms_ssim, lpips, labels, fid, kid, clean_fid,
    # clean_kid; see docs/evaluation.md
    config.palette = "auto"  # of label maps, for their scores: auto (where the set's are known) | none | facades |
    # cityscapes | a .json file {"CLASS": [R, G, B], ...}
    config.best_metric = "l1"  # by which `--step=best` is chosen; of label scores one of pixel_accuracy,
    # class_accuracy and mean_iou. l1 asks for no other network, but prefers blur: lpips, fid or kid look better
    config.profile_steps = config_dict.placeholder(tuple)  # (first, last), as 100,110: what devices and host do in
    # these steps, for TensorBoard and ui.perfetto.dev, to plugins/profile/; unset: nothing is traced

    return config.lock()
