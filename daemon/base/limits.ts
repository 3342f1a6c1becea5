// Time limits of waits for other processes, files and the network, as data: those that a user may notice. Intervals of polling and the like
// are defined where they are used. docs/timeouts.md tells each row's owner, and what happens at the limit.

export const LIMITS = {
  /** ms after which a waiting request is told what it waits for, if its client takes that. */
  waitToldMs: 1000,
  /** ms without an answer after which a client asks `/v1/health` on a second socket. */
  silenceMs: 1500,
  /** ms that this health request may take; a control process answers it in about 1 ms. */
  healthMs: 500,
  /** ms that a client asks an exiting engine again how its stream ended, and that an engine stays after its last stream for such questions. */
  endAskedMs: 500,
  /** ms that the answer may take; about 1 ms, more from a busy engine. */
  endAnsweredMs: 5000,
  /** ms that a socket of which the end of a stream is asked may be away: a cleaner has removed it, and its process binds it again within 0.6 s. */
  endAwayMs: 3000,
  /** ms that the ends of streams are kept after their engine has exited. */
  endsKeptMs: 600_000,
  /** ms that a client retries while the daemon is being replaced; a start takes 182 to 315 ms (measured). */
  replacedMs: 5000,
  /** ms that a client waits for a daemon that is away, but whose engines run or that was just killed; a restart takes 0.3 to 3 s. */
  awayMs: 15_000,
  /** ms before a client asks again whether a hanging engine has been replaced. */
  stuckAskedMs: 250,
  /** ms between two of these retries. */
  retryMs: 50,
  /** ms that an engine may take from fork to ready; measured 100 to 300. */
  engineStartMs: 10_000,
  /** ms that it may take at most: where it gets no CPU, or where an earlier one was late. */
  slowStartMs: 60_000,
  /**
   * ms that `bmuxd start` waits for the daemon, and a client for one that a service manager starts: longer than the wait for its lock and
   * `engineStartMs` together.
   */
  startMs: 20_000,
  /** ms that systemctl, loginctl or launchctl may take; a start of the service waits until the daemon is ready. */
  serviceManagerMs: 60_000,
  /** ms between two messages of an engine with its status. An engine that is silent for longer is asked. */
  heartbeatMs: 2000,
  /** ms after that message in which control sees to its regular work, and whether the message has come. */
  statusLateMs: 200,
  /** ms after a check without an answer until the next one. */
  secondLookMs: 250,
  /** ms that an engine may take to answer on its own socket. */
  engineAnswerMs: 1000,
  /** ms that a status request waits for an engine: `bmuxd status` answers within 200 ms, the start of Node included. */
  surveyMs: 80,
  /** ms that a status request waits for an engine that did not answer the last one. */
  glanceMs: 10,
  /** ms that the last answer of an engine is used when a newer one is late: `heartbeatMs` and `engineAnswerMs`. */
  surveyKeptMs: 3000,
  /** ms that a graceful end of a stream may take: close_notify or finish, then reading to the peer's end (docs/bmux-protocol.md, "Stream ends"). */
  endMs: 5000,
  /** ms without a byte, after its own end is sent, that a stream is still read when it was told to end. */
  muteMs: 1000,
  /** ms that an iroh connection may still take for its streams at a stop: their ends were waited for. */
  irohStopMs: 250,
  /** ms for which a TCP peer may acknowledge nothing, although bytes are sent to it again and again. */
  tcpUnansweredMs: 10_000,
  /** ms without a byte from the server after which the stream of a client that has closed its side is ended. */
  lingerMs: 60_000,
  /**
   * ms of not reading from a server after which it may have given up its client. A real server waits 5 s (docs/bmux-protocol.md, "Blocked
   * writer"); in the first of them the splice still finds out whether the client keeps up.
   */
  serverPatienceMs: 3500,
  /** ms after a client has caught up in which an end of its server counts as a consequence of its silence. */
  blameMs: 10_000,
  /** ms that a local server may take to end a connection that asks nothing. One that takes longer is alive and busy. */
  serverLookMs: 500,
  /** ms after a local server has closed its socket in which one that exits has removed it. */
  serverExitMs: 50,
  /** ms that all streams may take to end when a signal stops bmuxd: supervisors kill after 10 s. */
  termMs: 7000,
  /** ms that systemd may take to say whether it ends: it gives the service 15 s for `termMs` and this. */
  managerStateMs: 2000,
  /** ms that a control process that leaves waits for an engine that accepts on the target sockets; a start takes 100 to 300 ms. */
  nextEngineMs: 2000,
  /** ms that a control process that leaves still answers the requests that it has taken. */
  leaveMs: 2000,
  /** ms that a daemon that replaces another one waits until what is warm there is warm here. */
  warmLikeMs: 3000,
  /** The same for a daemon that starts beside the engines of one that has ended: they still accept on the target sockets. */
  warmAgainMs: 1000,
  /** ms that all streams together may take to end when bmuxd stops. */
  stopMs: 8000,
  /** ms a real server waits for a Hello before it closes without an answer (docs/bmux-protocol.md, "Handshake limit"). */
  serverHelloMs: 5000,
  /** ms after which protocol detection tries another candidate beside the likeliest one. */
  hedgeMs: 1000,
  /** ms that a target socket may take to appear; its engine may still be starting. */
  targetSocketMs: 4000,
  /** ms that control may take to make a plan, a lookup at the control plane excluded: it reads a few files. */
  prepareMs: 5000,
  /** ms that an HTTP request on the control socket may take to arrive completely. */
  requestMs: 5000,
  /** ms of an iroh dial, SSH auth included. The binding gives up on a silent peer after 30 s, and the user may have to confirm the use of a key. */
  irohDialMs: 30_000,
  /** ms without an answer of an iroh host after which it is also dialled on a new endpoint. */
  irohTrialMs: 3000,
  /** ms that binding the iroh endpoint may take: normally a few ms; a longer bind hangs. */
  irohBindMs: 10_000,
  /** ms that an endpoint may take to send its last packets after its connections are closed. */
  irohCloseMs: 3000,
  /** ms to wait until a connection reports that it is closed. */
  irohConnectionCloseMs: 1000,
  /** ms that an SSH agent may take to list its keys. A vault may ask a person to unlock it first. */
  agentListMs: 30_000,
  /** ms that a dial waits for one of several SSH agents to list its keys. */
  agentChoiceMs: 3000,
  /** ms for which the last list of an SSH agent counts while the agent cannot be asked: it is slow or locked. */
  agentVouchedMs: 5 * 60_000,
  /** ms that the macOS keychain may take to return its certificates. */
  keychainMs: 5000,
  /** ms that reading a config file may take: it may be on a network file system. */
  fileReadMs: 5000,
  /** ms that a program may write at a config file in pieces before what is there is read as the whole file. */
  fileSettledMs: 200,
  /** ms that a config file may be missing, as when an editor replaces it, before its absence is believed. */
  absenceMs: 3000,
  /** ms that control may take to resolve a target again, a lookup at the control plane included. */
  renewMs: 3000,
  /** ms that a relay may take to accept a connection, or DNS to answer, when the doctor asks it. */
  relayAskedMs: 3000,
  /** ms that a proxy may take to accept a connection when the doctor tries it. */
  proxyAskedMs: 3000,
  /** ms that the old socket of a target still accepts after a new one has taken its path. */
  takenOverMs: 500,
  /** ms that a refused client may take to close its side. */
  lingerCloseMs: 1000,
  /** ms for the daemon's answer to `bmuxd status`; it takes a few ms, since it waits for no target. */
  statusMs: 2000,
  /** ms for the answer to a Ping of `bmuxd warm`, `env` and `exec`; another dial follows a failed optimistic open. */
  reachMs: 20_000,
  /** ms without a byte after which `bmuxd events` gives up; the daemon sends at least a keep-alive every 15 s. */
  eventsSilentMs: 45_000,
  /** ms of a login of ssh. A person may have to touch a key, or to confirm its use. */
  sshLoginMs: 30_000,
  /** ms that a master of ssh may take to answer on its control socket, which takes about 10 ms. */
  sshControlMs: 2000,
  /** ms without a byte after which the stream of an ssh session that has exited is lost, when its master keeps stdout open. */
  sshLeftMs: 2000,
  /** ms that the preflight on an SSH target may take, the start of its server included. */
  sshPreflightMs: 30_000,
  /** ms that an unused master of ssh is kept. */
  sshIdleMs: 10 * 60_000,
  /** ms that an unused iroh connection is kept. */
  irohIdleMs: 10 * 60_000,
} as const;
