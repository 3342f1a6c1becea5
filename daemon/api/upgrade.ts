// Constants of the HTTP upgrade on the streams socket. No package imports: client-shim loads this at every start.

/** Largest Bmux-Request, bytes; Node's default for all headers together is 16 KiB. */
export const MAX_REQUEST_BYTES = 64 * 1024;
/** Largest header section that is read, bytes: a Bmux-Request, and 16 KiB for the other headers of any client. */
export const MAX_HEADER_BYTES = MAX_REQUEST_BYTES + 16 * 1024;
/** Name of the protocol in the Upgrade header. */
export const STREAM_PROTOCOL = 'bmux-stream/1';
/** A request header: its client takes interim answers (102) that say what it waits for. It names the header of those, too. */
export const WAITING_HEADER = 'Bmux-Waiting';
