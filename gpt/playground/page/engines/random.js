/**
 * Uniform random numbers from a seed: SplitMix64 ("Fast Splittable Pseudorandom Number Generators", Steele et al.,
 * 2014).
 */
export function random(seed) {
  let state = BigInt(seed);
  const wrapped = (x) => BigInt.asUintN(64, x);
  return () => {
    state = wrapped(state + 0x9e3779b97f4a7c15n);
    let z = state;
    z = wrapped((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = wrapped((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    z ^= z >> 31n;
    return Number(z >> 11n) / 2 ** 53;
  };
}
