// Waiting limits, as data: every wait on something outside has one of these, and says which one struck.

export const LIMITS = {
  /** ms a client waits in silence before it asks `/v1/health` on a second socket (issue A, client-shim). */
  silenceMs: 1500,
  /** ms that question may take: a control process answers it in about 1 ms. */
  healthMs: 500,
  /** ms a client goes on looking for a daemon that is just being replaced; a start takes 182 to 315 ms (notes on the platform). */
  replacedMs: 5000,
  /** ms between two tries to reach it. */
  retryMs: 50,
  /** ms an engine may need from fork to ready; measured 100 to 300. */
  engineStartMs: 10_000,
  /** ms between two looks at an engine. */
  heartbeatMs: 2000,
  /** ms an engine may need to answer on its own socket. */
  engineAnswerMs: 1000,
  /** ms that a status waits for an engine: `bmuxd status` answers within 200 ms. */
  surveyMs: 120,
  /** ms that the last answer of an engine stands for one that is late: longer, and a status would not see one that has just stopped. */
  surveyKeptMs: 1000,
  /** ms that control allows an engine beyond a request's own budget before it answers for it. */
  engineGraceMs: 1500,
  /** ms a graceful end of a stream may take: close_notify or finish, then read to the peer's end (spec/wire.md §5, §6). */
  endMs: 5000,
  /** ms a client that has closed its side may stay without a byte from the server before its stream is ended. */
  lingerMs: 60_000,
  /** ms all streams together may take to end when bmuxd stops. */
  stopMs: 8000,
  /** ms a real server waits for a Hello before it closes without an answer (spec/v4.md §3). */
  serverHelloMs: 5000,
  /** ms after which the likeliest candidate of a hello race gets company. */
  hedgeMs: 1000,
  /** ms control may need to make a plan, beyond what a lookup at the control plane may take: it reads a few files. */
  prepareMs: 5000,
  /** ms an HTTP request on the control socket may take to arrive whole. */
  requestMs: 5000,
  /** ms an unused iroh connection is kept. */
  irohIdleMs: 10 * 60_000,
} as const;
