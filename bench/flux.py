"""`./dev bench flux`: a step of FLUX.1-schnell at full width beside Diffusers and OpenVINO (steps.py)."""

import contest
import load
import steps

DOUBLE_BLOCKS_ALL, SINGLE_BLOCKS_ALL = 19, 38


def main() -> None:
    parser = steps.parser(__doc__)
    parser.add_argument("--double-blocks", type=int, default=2, help=f"of the {DOUBLE_BLOCKS_ALL}, each 0.7 GB; twice as many single ones")
    parser.set_defaults(sides=[32])
    arguments = parser.parse_args()

    single_blocks = 2 * arguments.double_blocks
    print(load.machine())
    print(f"{arguments.double_blocks} of {DOUBLE_BLOCKS_ALL} and {single_blocks} of {SINGLE_BLOCKS_ALL} blocks, 1 row, 256 text tokens,"
          f" bfloat16, {arguments.threads} threads")
    contestants = steps.Steps("flux", contest.CACHE.parent / f"bench_flux/blocks_{arguments.double_blocks}", arguments)
    contestants.prepare("transformer", arguments.double_blocks, single_blocks)
    contestants.run()


if __name__ == "__main__":
    main()
