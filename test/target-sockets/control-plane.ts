// A control plane for tests, which answers, hangs, or answers late.
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Test } from 'tap';

/** A control plane that resolves every link to the same target, until it hangs. */
export async function controlPlane(t: Test) {
  let hangs = false;
  let target = 'local';
  let lookups = 0;
  const held: ServerResponse[] = [];
  const server = createServer((_request, response) => {
    lookups += 1;
    if (hangs) held.push(response);
    else response.end(JSON.stringify({ target }));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.teardown(() => {
    server.close();
    server.closeAllConnections();
  });
  return {
    url: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`,
    lookups: () => lookups,
    hang: () => {
      hangs = true;
    },
    answer: () => {
      hangs = false;
    },
    /** Answers the lookups that hang, if their clients still wait. */
    answerLate: (late: string) => {
      for (const response of held.splice(0)) response.end(JSON.stringify({ target: late }));
    },
    leadTo: (next: string) => {
      target = next;
    },
  };
}
