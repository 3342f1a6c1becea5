// Temporary certificates, made with openssl during the test.
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { onPath } from '../../real/index.ts';

const run = promisify(execFile);

/** False, or why these tests are skipped. */
export const noOpenssl = onPath('openssl') === undefined && 'openssl not found';

export interface Certificate {
  readonly cert: string;
  readonly key: string;
  readonly file: string;
}

export interface Certificates {
  readonly folder: string;
  /** Makes a self-signed certificate. `san` is in openssl's syntax (`DNS:a,IP:127.0.0.1`); without it there is only the common name. */
  selfSigned(name: string, san?: string): Promise<Certificate>;
  remove(): Promise<void>;
}

export async function makeCertificates(): Promise<Certificates> {
  const folder = await mkdtemp(join(tmpdir(), 'bmuxd-cert-'));
  let count = 0;
  return {
    folder,
    selfSigned: async (name, san) => {
      count += 1;
      const file = join(folder, `${String(count)}.pem`);
      const keyFile = join(folder, `${String(count)}.key`);
      const extensions = san === undefined ? '' : `subjectAltName = ${san}\n`;
      const config = join(folder, `${String(count)}.cnf`);
      await writeFile(
        config,
        `[req]\ndistinguished_name = dn\nx509_extensions = ext\nprompt = no\n[dn]\nCN = ${name}\n[ext]\nkeyUsage = digitalSignature\n${extensions}`,
      );
      const args = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
      await run('openssl', [...args, '-days', '30', '-config', config, '-keyout', keyFile, '-out', file]);
      return { cert: await readFile(file, 'utf8'), key: await readFile(keyFile, 'utf8'), file };
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
