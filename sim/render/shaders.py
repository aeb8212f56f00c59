"""What runs on the device for every corner and every pixel (GLSL); `gl` feeds it.

Everything happens in the camera's frame (x right, y down, z forward), so that a scene far from the world's origin loses nothing
to 32 bits. The cosines of the lamp and its highlight are worked out at corners and blended between them, which is exact on flat
faces and keeps a software rasteriser's pixels cheap. Depth is 1 / w of the pixel: linear, and right to 1e-6 of itself.
"""

from __future__ import annotations

HEADER = "#version 430 core\n"

FRAME = """
layout(std140, binding = 0) uniform Frame {
    mat4 clip;       // camera's frame to the picture
    mat4 shadow;     // camera's frame to the shadow map, 0..1 in x, y and depth
    vec4 lamp;       // towards the lamp
    vec4 halfway;    // between the lamp and the eye
    vec4 ambient;    // colours of light
    vec4 diffuse;
    vec4 specular;
};
"""

INSTANCE = """
layout(location = 0) in vec3 at;
layout(location = 3) in vec4 right;    // rows of mesh to camera
layout(location = 4) in vec4 down;
layout(location = 5) in vec4 forward;
"""

CORNER = """
layout(location = 1) in vec3 normal;
layout(location = 6) in vec4 painted;  // colour, and repeats of a texture to one unit of its coordinates
layout(location = 7) in int number;
flat out vec3 colour;
flat out vec3 lights[3];               // ambient, diffuse, specular: a software rasteriser is slow at uniforms in every pixel
flat out int id;
out vec2 towards;                      // cosines to the lamp and to halfway
#ifdef TEXTURE
layout(location = 2) in vec2 texture_at;
out vec2 place;
#endif
#ifdef SHADOW
out vec3 spot;                         // in the shadow map
#endif
void main() {
    vec4 corner = vec4(at, 1.0);
    vec4 seen = vec4(dot(right, corner), dot(down, corner), dot(forward, corner), 1.0);
    vec3 turned = vec3(dot(right.xyz, normal), dot(down.xyz, normal), dot(forward.xyz, normal));
    towards = vec2(dot(turned, lamp.xyz), dot(turned, halfway.xyz));
    colour = painted.rgb;
    lights = vec3[](ambient.rgb, diffuse.rgb, specular.rgb);
    id = number;
#ifdef TEXTURE
    place = texture_at * painted.w;
#endif
#ifdef SHADOW
    spot = (shadow * seen).xyz;
#endif
    gl_Position = clip * seen;
}
"""

PIXEL = """
flat in vec3 colour;
flat in vec3 lights[3];
flat in int id;
in vec2 towards;
#ifdef TEXTURE
in vec2 place;
layout(binding = 0) uniform sampler2D picture;
#endif
#ifdef SHADOW
in vec3 spot;
layout(binding = 1) uniform sampler2DShadow shade;
#endif
layout(location = 0) out vec4 rgb;
layout(location = 1) out float depth;
layout(location = 2) out int ids;

void main() {
    depth = 1.0 / gl_FragCoord.w;
    ids = id;
    vec2 share = towards;
#ifdef OPEN
    share = gl_FrontFacing ? share : -share;
#endif
    share = max(share, 0.0);
    share.y *= share.y;  // to the 16th
    share.y *= share.y;
    share.y *= share.y;
    share.y *= share.y;
#ifdef SHADOW
    share *= texture(shade, spot);  // four texels, weighted: the edge is a texel wide
#endif
    vec3 body = colour;
#ifdef TEXTURE
    body *= texture(picture, place).rgb;
#endif
    rgb = vec4(body * (lights[0] + share.x * lights[1]) + share.y * lights[2], 1.0);
}
"""

CASTER = """
void main() {
    vec4 corner = vec4(at, 1.0);
    vec4 spot = shadow * vec4(dot(right, corner), dot(down, corner), dot(forward, corner), 1.0);
    gl_Position = vec4(spot.xyz * 2.0 - 1.0, 1.0);
}
"""

NOTHING_SEEN = HEADER + "void main() {}\n"


def corner(shadowed: bool, textured: bool, both_sides: bool) -> str:
    """What places the corners of what is seen."""
    return _defined(shadowed, textured, both_sides) + FRAME + INSTANCE + CORNER


def pixel(shadowed: bool, textured: bool, both_sides: bool) -> str:
    """What colours the pixels of what is seen."""
    return _defined(shadowed, textured, both_sides) + PIXEL


def caster() -> str:
    """What places the corners of what casts a shadow, as the lamp sees them."""
    return HEADER + FRAME + INSTANCE + CASTER


def _defined(shadowed: bool, textured: bool, both_sides: bool) -> str:
    names = (("SHADOW", shadowed), ("TEXTURE", textured), ("OPEN", both_sides))
    return HEADER + "".join(f"#define {name}\n" for name, is_so in names if is_so)
