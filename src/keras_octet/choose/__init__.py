"""Choose: flat model, calibration and recipe to a plan."""

from keras_octet.choose.plan import Decision, Plan, choose

__all__ = ["Decision", "Plan", "choose"]
