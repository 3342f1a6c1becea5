// Is loaded into a daemon before its own code. Replaces the lookup of one host name: `gateway.test` leads to the address in the file TEST_HOST.
import dns, { type LookupAddress } from 'node:dns';
import { readFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';

const system = dns.lookup;
type Done = (error: Error | null, address: string | LookupAddress[], family?: number) => void;

function lookup(host: string, options: { readonly all?: boolean }, done: Done): void {
  if (host !== 'gateway.test') {
    system(host, options as dns.LookupAllOptions, done);
    return;
  }
  const address = readFileSync(process.env['TEST_HOST'] ?? '', 'utf8').trim();
  setImmediate(() => {
    if (options.all === true) done(null, [{ address, family: 4 }]);
    else done(null, address, 4);
  });
}

Object.assign(dns, { lookup });
syncBuiltinESMExports();
