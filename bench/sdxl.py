"""`./dev bench sdxl`: a step of Stable Diffusion XL's UNet at full width beside Diffusers and OpenVINO (steps.py)."""

import contest
import load
import steps

DEPTH_ALL = 10


def main() -> None:
    parser = steps.parser(__doc__)
    parser.add_argument("--depth", type=int, default=2, help=f"transformer blocks at the lowest level, of {DEPTH_ALL}; all take 5 GB a contestant")
    parser.set_defaults(sides=[64])
    arguments = parser.parse_args()

    print(load.machine())
    print(f"{arguments.depth} of {DEPTH_ALL} transformer blocks at the lowest level, 2 rows (guidance), 77 text tokens, bfloat16,"
          f" {arguments.threads} threads")
    contestants = steps.Steps("sdxl", contest.CACHE.parent / f"bench_sdxl/depth_{arguments.depth}", arguments)
    contestants.prepare("unet", arguments.depth)
    contestants.run()


if __name__ == "__main__":
    main()
