"""The read functions of operators on float, integer, bool and complex tensors."""

from __future__ import annotations

from keras_octet.tflite.emit.codes import (
    BINARY_OPERATIONS,
    COMPLEX_PARTS,
    REDUCTIONS,
    UNARY_OPERATIONS,
)
from keras_octet.tflite.read import (
    float_activation,
    float_convolution,
    float_dense,
    float_elementwise,
    float_movement,
    float_pooling,
    float_position,
    float_resize,
    float_spectra,
)
from keras_octet.tflite.read.call import ReadFunction

# Float arithmetic only.
FLOAT: dict[str, ReadFunction] = {
    **dict.fromkeys(float_activation.ACTIVATIONS, float_activation.read_activation),
    "RELU": float_activation.read_relu,
    "RELU6": float_activation.read_relu,
    "RELU_0_TO_1": float_activation.read_relu,
    "LEAKY_RELU": float_activation.read_leaky_relu,
    "PRELU": float_activation.read_prelu,
    "ELU": float_activation.read_elu,
    "GELU": float_activation.read_gelu,
    "SOFTMAX": float_activation.read_softmax,
    "L2_NORMALIZATION": float_activation.read_l2_normalization,
    "LOCAL_RESPONSE_NORMALIZATION": float_activation.read_local_response_normalization,
    "FULLY_CONNECTED": float_dense.read_fully_connected,
    "CONV_2D": float_convolution.read_conv_2d,
    "DEPTHWISE_CONV_2D": float_convolution.read_depthwise_conv_2d,
    "TRANSPOSE_CONV": float_convolution.read_transpose_conv,
    "CONV_3D": float_convolution.read_conv_3d,
    "CONV_3D_TRANSPOSE": float_convolution.read_conv_3d_transpose,
    "AVERAGE_POOL_2D": float_pooling.read_pool,
    "MAX_POOL_2D": float_pooling.read_pool,
    "L2_POOL_2D": float_pooling.read_pool,
    "MEAN": float_pooling.read_reduction,
    "RESIZE_BILINEAR": float_resize.read_resize,
    "DIV": float_elementwise.read_arithmetic,
    "ROUND": float_elementwise.read_round,
    "RFFT2D": float_spectra.read_rfft2d,
}
# Any dtype, the same function whatever the kind.
FLOAT_OR_INTEGER: dict[str, ReadFunction] = {
    **{
        code: float_elementwise.read_binary
        for code in BINARY_OPERATIONS
        if code not in ("ADD", "SUB", "MUL", "DIV")
    },
    **{
        code: float_elementwise.read_unary
        for code in UNARY_OPERATIONS
        if code not in float_activation.ACTIVATIONS
    },
    **{code: float_pooling.read_reduction for code in REDUCTIONS if code != "MEAN"},
    "ADD": float_elementwise.read_arithmetic,
    "SUB": float_elementwise.read_arithmetic,
    "MUL": float_elementwise.read_arithmetic,
    "ADD_N": float_elementwise.read_add_n,
    "POW": float_elementwise.read_power,
    "SQUARED_DIFFERENCE": float_elementwise.read_squared_difference,
    "CAST": float_elementwise.read_cast,
    "SELECT": float_elementwise.read_select,
    "SELECT_V2": float_elementwise.read_select,
    "BATCH_MATMUL": float_dense.read_batch_matmul,
    "RESIZE_NEAREST_NEIGHBOR": float_resize.read_resize,
    "SPACE_TO_DEPTH": float_resize.read_blocks,
    "DEPTH_TO_SPACE": float_resize.read_blocks,
    "SPACE_TO_BATCH_ND": float_resize.read_space_to_batch,
    "BATCH_TO_SPACE_ND": float_resize.read_batch_to_space,
    "RESHAPE": float_movement.read_reshape,
    "EXPAND_DIMS": float_movement.read_expand_dims,
    "SQUEEZE": float_movement.read_squeeze,
    "TRANSPOSE": float_movement.read_transpose,
    "CONCATENATION": float_movement.read_concatenation,
    "PACK": float_movement.read_pack,
    "UNPACK": float_movement.read_unpack,
    "SPLIT": float_movement.read_split,
    "SPLIT_V": float_movement.read_split,
    "SLICE": float_movement.read_slice,
    "STRIDED_SLICE": float_movement.read_strided_slice,
    "PAD": float_movement.read_pad,
    "PADV2": float_movement.read_pad_v2,
    "MIRROR_PAD": float_movement.read_mirror_pad,
    "TILE": float_movement.read_tile,
    "REVERSE_V2": float_movement.read_reverse,
    "BROADCAST_TO": float_movement.read_broadcast_to,
    "FILL": float_movement.read_fill,
    "GATHER": float_position.read_gather,
    "GATHER_ND": float_position.read_gather_nd,
    "EMBEDDING_LOOKUP": float_position.read_embedding_lookup,
    "SCATTER_ND": float_position.read_scatter_nd,
    "ONE_HOT": float_position.read_one_hot,
    "ARG_MAX": float_position.read_arg_extremum,
    "ARG_MIN": float_position.read_arg_extremum,
    "TOPK_V2": float_position.read_top_k,
    "CUMSUM": float_position.read_cumsum,
    "BUCKETIZE": float_position.read_bucketize,
    "REVERSE_SEQUENCE": float_position.read_reverse_sequence,
    "MATRIX_DIAG": float_position.read_matrix_diag,
    "MATRIX_SET_DIAG": float_position.read_matrix_set_diag,
}
# complex64, which RFFT2D makes.
COMPLEX: dict[str, ReadFunction] = {
    **dict.fromkeys(COMPLEX_PARTS, float_spectra.read_part),
    "CAST": float_spectra.read_cast,
    "RESHAPE": float_movement.read_reshape,
    "EXPAND_DIMS": float_movement.read_expand_dims,
    "SQUEEZE": float_movement.read_squeeze,
}
