from tensorboardX.proto import Empty

Event = SessionLog = Empty
