from tensorboard.compat.proto import Empty

Event = SessionLog = Empty
