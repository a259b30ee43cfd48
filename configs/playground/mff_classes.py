r"""Pretrain on the small labelled set with a fusion of shallow and deep blocks (MFF).

Data:  python tools/make_class_folders.py
Run:   python tools/train.py configs/playground/mff_classes.py
Cost:  as mae_classes.py.
"""

_base_ = './mae_classes.py'

model = dict(decoder=dict(in_layers=[0, 2, 4]))
