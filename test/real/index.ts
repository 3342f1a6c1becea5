// The real programs as fixtures. Call `realBmux()` / `realRelay()` first, and skip the test when they are missing:
//
//   t.test('…', { skip: realBmux() === undefined && 'real bmux not found' }, async (t) => {
//     const server = await startServer();
//     t.teardown(() => server.stop());
//     const gateway = await startTlsGateway(server, { compression: 'none' });
//     t.teardown(() => gateway.stop());
//
// Every start makes its own folders, listens on loopback only, and returns addresses and `stop()`.
export { accepts, freePort, halt, isAlive, startChild, waitFor, type Child } from './child.ts';
export { far } from './far.ts';
export { onPath, realBmux, realRelay, repositoryRoot } from './find.ts';
export {
  canCountConnections,
  connectionsHeld,
  run,
  startServer,
  type Ran,
  type RealServer,
} from './server.ts';
export { startIrohGateway, startTlsGateway, type IrohGateway } from './gateways.ts';
export { startRelay, type RealRelay } from './relay.ts';
export { hasSshAgent, startAgent, type RealAgent } from './agent.ts';
export { learn, type Question } from './question.ts';
export { codeOfPam, ordinaryAccount, rootsPassword, sshdMissing, startSshd, type RealSshd } from './sshd.ts';
