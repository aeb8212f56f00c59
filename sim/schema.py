"""What a row of a simulated data set holds: one interaction, all that was drawn for it and all that came of it.

Every column says what it is in its own metadata ("what"), so that whoever opens a shard with nothing but Arrow can read it.
"""

from __future__ import annotations

import pyarrow as pa

TASKS = ("grasp", "push", "poke", "observe")  # the place in this tuple is the number in the column "task"
ACTIONS = {"grasp": 4, "push": 5, "poke": 4, "observe": 5}  # numbers that an action has; each task's file names them
TRACE = 64

_f4, _f8, _i4, _text, _bytes = pa.float32(), pa.float64(), pa.int32(), pa.string(), pa.binary()


def _column(name: str, kind: pa.DataType, what: str) -> pa.Field:
    return pa.field(name, kind, metadata={"what": what})


SCHEMA = pa.schema(
    [
        _column("index", pa.int64(), "which item of the seed"),
        _column("task", pa.int8(), f"one of {', '.join(f'{k} {task}' for k, task in enumerate(TASKS))}"),
        _column("success", pa.bool_(), "as the task says"),
        _column("grasp", pa.list_(_f4, 4), "row, column, angle bin of 18, success; zeros in other tasks"),
        _column("push", pa.list_(_f4, 5), "row, column, end row, end column, height of the finger in m"),
        _column("poke", pa.list_(_f4, 4), "row, column, slope in N/mm, intercept in N"),
        _column("observe", pa.list_(_f4, 5), "row, column, row and column in the picture after, angle around in rad"),
        _column("force", pa.list_(_f4, TRACE), "N, over the action, resampled"),
        _column("travel", pa.list_(_f4, TRACE), "m, at the same times"),
        _column("raw_force", pa.list_(_f4), "N, in every step of 1/240 s"),
        _column("raw_travel", pa.list_(_f4), "m, in every step"),
        _column("raw_pushed", pa.list_(_f4), "N, force of things on the hand in every step: steps times x, y, z"),
        _column("contacts", pa.list_(_f4), "touches of the hand: n times place of the thing, x, y, z in m, force x, y, z in N"),
        _column("residual", _f8, "m between where the hand should have stood and where it stood"),
        _column("acted", _text, "name of the thing that was acted on"),
        _column("acted_place", pa.int8(), "its place in things, and in the pictures of things"),
        _column("shape", _text, "its form"),
        _column("size", pa.list_(_f8, 3), "m, along its own axes"),
        _column("colour", pa.list_(_f8, 3), "red, green, blue in 0..1"),
        _column("mass", _f8, "kg, in this scene"),
        _column("friction", _f8, "lateral; times table_friction on the table"),
        _column("spinning", _f8, "friction against turning on the spot, m"),
        _column("rolling", _f8, "friction against rolling, m"),
        _column("restitution", _f8, "share of speed kept in a bounce"),
        _column("stiffness", _f8, "N/m, in this scene; of a soft block, Young's modulus times area over height"),
        _column("damping", _f8, "N s/m"),
        _column("soft_mu", _f8, "Pa, shear modulus of what is soft, in this scene; 0 for rigid things"),
        _column("soft_lambda", _f8, "Pa, its Lame's first parameter, likewise"),
        _column("soft_damping", _f8, "s, stress it adds over rate of strain and modulus; 0 for rigid things"),
        _column("filled", _f8, "volume seen over volume touched"),
        _column("things", pa.list_(_text), "names of all things in the scene"),
        _column("shapes", pa.list_(_text), "their forms"),
        _column("masses", pa.list_(_f8), "kg"),
        _column("frictions", pa.list_(_f8), "lateral"),
        _column("stiffnesses", pa.list_(_f8), "N/m"),
        _column("textures", pa.list_(_i4), "numbers in the bank of textures, -1 for none"),
        _column("distractors", pa.int8(), "how many things, the last ones, are never acted on"),
        _column("states_before", pa.list_(_f8), "n times x, y, z, qx, qy, qz, qw"),
        _column("states_after", pa.list_(_f8), "likewise"),
        _column("table_friction", _f8, "lateral"),
        _column("table_colour", pa.list_(_f8, 3), "red, green, blue in 0..1"),
        _column("table_texture", _i4, "number in the bank of textures, -1 for none"),
        _column("gravity_tilt", pa.list_(_f8, 2), "rad that gravity leans towards x and y"),
        _column("light_direction", pa.list_(_f8, 3), "towards the lamp"),
        _column("light_colour", pa.list_(_f8, 3), "factors of red, green, blue"),
        _column("light_ambient", _f8, "share seen in shadow"),
        _column("light_diffuse", _f8, "share added in the light"),
        _column("light_shadow", pa.bool_(), "whether things cast shadows"),
        _column("noise", _f8, "standard deviation of the camera's noise, grey levels"),
        _column("camera_matrix", pa.list_(_f8, 9), "K, row by row"),
        _column("camera_pose", pa.list_(_f8, 16), "camera to world, row by row; x right, y down, z forward"),
        _column("camera_pose_after", pa.list_(_f8, 16), "of the picture after; another one for observe only"),
        _column("before", _bytes, "PNG or JPEG"),
        _column("after", _bytes, "PNG or JPEG"),
        _column("depth_before", _bytes, "16-bit PNG, 0.1 mm a grey level"),
        _column("depth_after", _bytes, "16-bit PNG, 0.1 mm a grey level"),
        _column("things_before", _bytes, "8-bit PNG: place in things, 255 for none"),
        _column("things_after", _bytes, "8-bit PNG: place in things, 255 for none"),
        _column("deepest", _bytes, "PNG or JPEG: a soft block as it was pressed most, hand included; none for rigid things"),
        _column("film", _bytes, "mp4 of the action, hand included, if asked for"),
        _column("wrist_before", _bytes, "from the hand at the beginning, if asked for"),
        _column("wrist_after", _bytes, "from the hand at the end, if asked for"),
        _column("tactile_first", _bytes, "16-bit PNG: depth from the first fingertip at the touch, 0.1 mm, if asked for"),
        _column("tactile_second", _bytes, "16-bit PNG: depth from the second fingertip at the touch, if asked for"),
    ]
)
