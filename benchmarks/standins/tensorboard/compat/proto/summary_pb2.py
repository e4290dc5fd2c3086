from tensorboard.compat.proto import Empty


class Summary(Empty):
    Image = Value = Empty
