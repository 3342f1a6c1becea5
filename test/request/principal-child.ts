// Child process of principal.test.ts: loads the principal id when told to, and prints the result.
import { loadPrincipalId } from '../../daemon/request/principal.ts';

process.once('message', (principalId) => {
  loadPrincipalId({ paths: { principalId: String(principalId) } }).then(
    (id) => process.send?.({ id }, () => process.exit()),
    (error: unknown) => process.send?.({ error: String(error) }, () => process.exit(1)),
  );
});
process.send?.('ready');
