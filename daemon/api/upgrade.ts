// The upgrade of the control socket. No package imports: the shim's hot path loads this.

/** Longest Bmux-Request, bytes; Node's own default for all headers is 16 KiB. */
export const MAX_REQUEST_BYTES = 64 * 1024;
/** Largest header section that is read: the other headers of any client have room beside it, bytes. */
export const MAX_HEADER_BYTES = MAX_REQUEST_BYTES + 16 * 1024;
/** Name of the protocol in the Upgrade header. */
export const STREAM_PROTOCOL = 'bmux-stream/1';
