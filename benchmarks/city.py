"""Measures how fast one core draws the city: `python -m benchmarks.city [images]`."""

import resource
import sys
import time

from vprlib.city.scene import CityParams, LightWeights, PartParams
from vprlib.city.sensor import jpeg
from vprlib.city.shots import Plan, Shot, draw, plan


def main(images: int) -> None:
    """Prints planning time, images a second of processor time, and peak memory."""
    scene, light = CityParams(), LightWeights(day=0.6, dusk=0.25, night=0.15)
    places = -(-images // scene.headings)
    start = time.process_time()
    test = plan(scene, PartParams(places=places, queries=images, query_light=light), "test")
    print(f"planned {2 * images} images in {time.process_time() - start:.2f} s")
    for name, shots in (("database", test.database), ("queries", test.queries)):
        seconds, size = measure(test, shots[:images])
        print(f"{name}: {images / seconds:.0f} images/s, {size / images / 1024:.1f} KiB each")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory {peak:.0f} MiB")


def measure(the_plan: Plan, shots: list[Shot]) -> tuple[float, int]:
    """Processor seconds and bytes to draw and encode these shots."""
    start = time.process_time()
    sizes = [len(jpeg(draw(the_plan, shot), the_plan.scene.quality)) for shot in shots]
    return time.process_time() - start, sum(sizes)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 800)
