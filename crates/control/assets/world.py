"""Makes world.json: for each country (ISO 3166-1 alpha-2) its outline as a path of SVG, in degrees, north upwards.

  npm pack world-atlas@2.0.2 i18n-iso-countries@7.14.0     (and unpack both)
  python3 world.py world-atlas/countries-110m.json i18n-iso-countries/codes.json > world.json

The outlines are Natural Earth's 1:110m (public domain), as TopoJSON in world-atlas (ISC, Copyright 2013-2019 Michael
Bostock). The table of codes is that of i18n-iso-countries (MIT). Equirectangular: x is the longitude and y the negated
latitude. Antarctica is left out: nobody's beacon comes from there, and it takes a fifth of the map.
"""

import json
import sys

NAMES_WITHOUT_NUMBER = {"Kosovo": "XK", "N. Cyprus": "CY", "Somaliland": "SO"}


def main(atlas, codes):
    atlas = json.load(open(atlas))
    alpha = {numeric: two for two, _, numeric, *_ in json.load(open(codes))}
    (sx, sy), (tx, ty) = atlas["transform"]["scale"], atlas["transform"]["translate"]

    def line(number):
        x = y = 0
        points = []
        for dx, dy in atlas["arcs"][number if number >= 0 else ~number]:
            x, y = x + dx, y + dy
            points.append((round(x * sx + tx, 1), round(-(y * sy + ty), 1)))
        return points if number >= 0 else points[::-1]

    def rings(arcs):
        points = []
        for number in arcs:
            points += line(number) if not points else line(number)[1:]
        # What crosses the antimeridian goes on beyond it, and is drawn at both edges.
        turns, whole = 0, [points[0]]
        for (before, _), (x, y) in zip(points, points[1:]):
            turns += (x - before < -180) - (x - before > 180)
            whole.append((round(x + 360 * turns, 1), y))
        low, high = min(x for x, _ in whole), max(x for x, _ in whole)
        shifts = [0] + ([-360] if high > 180 else []) + ([360] if low < -180 else [])
        return "".join(ring([(round(x + shift, 1), y) for x, y in whole]) for shift in shifts)

    def ring(points):
        steps = [points[0]] + [here for before, here in zip(points, points[1:]) if here != before]
        return "M" + "L".join(f"{x:g} {y:g}" for x, y in steps) + "Z"

    world = {}
    for shape in atlas["objects"]["countries"]["geometries"]:
        code = alpha.get(shape.get("id")) or NAMES_WITHOUT_NUMBER[shape["properties"]["name"]]
        if code == "AQ":
            continue
        polygons = [shape["arcs"]] if shape["type"] == "Polygon" else shape["arcs"]
        world[code] = world.get(code, "") + "".join(rings(arcs) for polygon in polygons for arcs in polygon)
    json.dump(dict(sorted(world.items())), sys.stdout, separators=(",", ":"))
    print()


main(*sys.argv[1:])
