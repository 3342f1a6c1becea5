// The upgrade of the control socket. No package imports: the shim's hot path loads this.

/** Largest header section that is read, bytes (issue A; Node's own default is 16 KiB). */
export const MAX_HEADER_BYTES = 64 * 1024;
/** Name of the protocol in the Upgrade header. */
export const STREAM_PROTOCOL = 'bmux-stream/1';
