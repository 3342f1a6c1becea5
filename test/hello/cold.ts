// What an engine knows of its servers where nothing is kept warm.
import { Reached } from '../../daemon/engine/reached.ts';
import type { Places } from '../../daemon/pool/places.ts';

export function coldReached(places: Places): Reached {
  return new Reached({
    places,
    isWarm: () => false,
    roundTripMs: () => undefined,
    spares: () => 0,
    warmSinceMs: () => undefined,
    isDialling: () => false,
    streams: () => 0,
  });
}
