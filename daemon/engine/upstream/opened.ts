// What every way to open a stream ends with.
import type { Duplex } from 'node:stream';
import type { Candidate } from '../../hello/candidates.ts';
import type { Negotiated } from '../../hello/handshake.ts';

/** A stream on which the Hello has been answered, with nothing of the server's unread before it. */
export interface Opened {
  readonly stream: Duplex;
  readonly candidate: Candidate;
  readonly negotiated: Negotiated;
  readonly warm: boolean;
}
