from tensorboardX.proto import Empty

Summary = Empty
