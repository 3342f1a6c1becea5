// Waiting limits, as data: the waits on something outside that a person may come to know. What is only a pace (how often somebody looks, how long a
// likely candidate goes alone) stands where it is used.

export const LIMITS = {
  /** ms a client waits in silence before it asks `/v1/health` on a second socket. */
  silenceMs: 1500,
  /** ms that question may take: a control process answers it in about 1 ms. */
  healthMs: 500,
  /** ms a client may ask at the end of its stream whether it was lost; it takes about 1, and more where the engine is busy. */
  endAskedMs: 500,
  /** ms a client goes on looking for a daemon that is just being replaced; a start takes 182 to 315 ms (measured). */
  replacedMs: 5000,
  /** ms between two tries to reach it. */
  retryMs: 50,
  /** ms an engine may need from fork to ready; measured 100 to 300. */
  engineStartMs: 10_000,
  /** ms between two looks at an engine. */
  heartbeatMs: 2000,
  /** ms an engine may need to answer on its own socket. */
  engineAnswerMs: 1000,
  /** ms that a status waits for an engine: `bmuxd status` answers within 200 ms, Node's own start among them. */
  surveyMs: 80,
  /** The same for one that has not answered the last time, ms. */
  glanceMs: 10,
  /** ms that the last answer of an engine, to a status or a look, stands for one that is late: a look and the time that its answer may take. */
  surveyKeptMs: 3000,
  /** ms that control allows an engine beyond a request's own budget before it answers for it. */
  engineGraceMs: 1500,
  /** ms a graceful end of a stream may take: close_notify or finish, then read to the peer's end (docs/bmux-protocol.md, "Stream ends"). */
  endMs: 5000,
  /** ms a client that has closed its side may stay without a byte from the server before its stream is ended. */
  lingerMs: 60_000,
  /** ms all streams together may take to end when bmuxd stops. */
  stopMs: 8000,
  /** ms a real server waits for a Hello before it closes without an answer (docs/bmux-protocol.md, "Handshake limit"). */
  serverHelloMs: 5000,
  /** ms after which the likeliest candidate of a hello race gets company. */
  hedgeMs: 1000,
  /** ms until a target socket has to be there: its engine may just be starting. */
  targetSocketMs: 4000,
  /** ms control may need to make a plan, beyond what a lookup at the control plane may take: it reads a few files. */
  prepareMs: 5000,
  /** ms an HTTP request on the control socket may take to arrive whole. */
  requestMs: 5000,
  /** ms of an iroh dial, SSH auth included: the binding gives up on a silent peer after 30 s, and a person may have to confirm the use of a key. */
  irohDialMs: 30_000,
  /** ms of a bind of the iroh endpoint: it takes milliseconds, and what takes longer hangs. */
  irohBindMs: 10_000,
  /** ms an endpoint gets for its last packets, when its connections are closed. */
  irohCloseMs: 3000,
  /** ms until a connection that was closed is really closed. */
  irohConnectionCloseMs: 1000,
  /** ms an SSH agent may take to list its keys; it asks nobody for that. */
  agentListMs: 3000,
  /** ms the macOS keychain may take to give its certificates. */
  keychainMs: 5000,
  /** ms a config file may take to be read: it may lie on a network. */
  fileReadMs: 5000,
  /** ms that control may take to resolve a target anew: a lookup at the control plane among them. */
  renewMs: 3000,
  /** ms the old socket of a target goes on accepting when a new one has taken its path. */
  takenOverMs: 500,
  /** ms that a refused client may take to close its side. */
  lingerCloseMs: 1000,
  /** ms for the daemon's answer to `bmuxd status`; it takes a few, and waits for no target. */
  statusMs: 2000,
  /** ms for the answer to a Ping of `bmuxd warm`, `env` and `exec`: a promise that is broken is followed by another dial. */
  reachMs: 20_000,
  /** ms without a byte for `bmuxd events`: the daemon says something every 15 s, if only that it is there. */
  eventsSilentMs: 45_000,
  /** ms an unused iroh connection is kept. */
  irohIdleMs: 10 * 60_000,
} as const;
