// Faults at targets: each with the code that the doctor must find and a part of the right remedy.
import { writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { answering, silent, type Fault, type Spot } from './spot.ts';

const tls = (name: string, lines: string): string =>
  `[connections.targets.${name}]\ntransport = "tls"\n${lines}\n`;
const gateway = ({ gateway: { port } }: Spot): string => `host = "127.0.0.1"\nport = ${String(port)}\n`;
const inRun = ({ env }: Spot, name: string): string => join(env['BMUX_RUNTIME_DIR'] ?? '', name);
/** An SSH agent that lists these bytes. */
const agent = (answer: readonly number[]): Server =>
  createServer((socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => socket.end(Buffer.from(answer)));
  });
const wantsAuth = ({ iroh }: Spot): string =>
  `[connections.targets.far]\ntransport = "iroh"\nendpoint_id = "${iroh.endpointId}"\niroh_ip_addr = "${iroh.address}"\niroh_ssh_auth = true\n`;

export const TARGET_FAULTS: readonly Fault[] = [
  {
    name: 'a TLS target without a host',
    code: 'tls_host_missing',
    remedy: /host/,
    plant: ({ config }) => config('[connections.targets.bad]\ntransport = "tls"\n'),
  },
  {
    name: 'an iroh target without an endpoint',
    code: 'iroh_endpoint_missing',
    remedy: /endpoint/,
    plant: ({ config }) => config('[connections.targets.bad]\ntransport = "iroh"\n'),
  },
  {
    name: 'an iroh target with an invalid endpoint',
    code: 'iroh_endpoint_invalid',
    remedy: /\w/,
    plant: ({ config }) =>
      config('[connections.targets.bad]\ntransport = "iroh"\nendpoint_id = "nonsense"\n'),
  },
  {
    name: 'a gateway that does not listen',
    code: 'tls_unreachable',
    remedy: /gateway/,
    plant: ({ config }) => config(tls('bad', 'host = "127.0.0.1"\nport = 1')),
  },
  {
    name: 'a host name that leads nowhere',
    code: 'tls_unreachable',
    remedy: /\w/,
    plant: ({ config }) => config(tls('bad', 'host = "nowhere.invalid"')),
  },
  {
    name: 'a host that is written with its port',
    code: 'tls_unreachable',
    remedy: /the port in port/,
    plant: ({ config }) => config(tls('off', 'host = "gateway.invalid:7443"')),
  },
  {
    name: 'a gateway that says nothing',
    code: 'tls_handshake_timeout',
    remedy: /\w/,
    plant: async (spot) => {
      const port = await spot.listen(silent(), 0);
      await spot.config(tls('bad', `host = "127.0.0.1"\nport = ${String(port)}\nconnect_timeout_ms = 5000`));
    },
  },
  {
    name: 'a server that speaks no TLS',
    code: 'tls_handshake_failed',
    remedy: /TLS gateway/,
    plant: async (spot) => {
      const port = await spot.listen(answering('HTTP/1.1 400 Bad Request\r\n\r\n'), 0);
      await spot.config(tls('bad', `host = "127.0.0.1"\nport = ${String(port)}`));
    },
  },
  {
    name: 'a certificate that nobody vouches for',
    code: 'tls_handshake_failed',
    remedy: /trust|ca_file/,
    plant: (spot) => spot.config(tls('bad', `${gateway(spot)}server_name = "localhost"`)),
  },
  {
    name: 'a certificate of another name',
    code: 'tls_handshake_failed',
    remedy: /\w/,
    plant: (spot) =>
      spot.config(
        tls('bad', `${gateway(spot)}server_name = "other.example"\nca_file = "${spot.gateway.caFile}"`),
      ),
  },
  {
    name: 'a pin of another certificate',
    code: 'tls_identity_changed',
    remedy: /trust/,
    plant: (spot) =>
      spot.config(
        `${tls('bad', `${gateway(spot)}server_name = "localhost"`)}[connections.tls_trust.known_gateways."127.0.0.1:${String(spot.gateway.port)}"]\nfingerprint_sha256 = "SHA256:${'00'.repeat(32)}"\n`,
      ),
  },
  {
    name: 'a ca_file that is not there',
    code: 'ca_unreadable',
    remedy: /\w/,
    plant: (spot) => spot.config(tls('bad', `${gateway(spot)}ca_file = "/none/ca.pem"`)),
  },
  {
    name: 'a ca_file that is no PEM',
    code: 'ca_unparsable',
    remedy: /\w/,
    plant: async (spot) => {
      const path = join(spot.folder, 'broken.pem');
      await writeFile(path, '-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n');
      await spot.config(tls('bad', `${gateway(spot)}ca_file = "${path}"`));
    },
  },
  {
    name: 'SSL_CERT_FILE without a certificate',
    code: 'roots_missing',
    remedy: /Unset/,
    plant: async ({ env, folder }) => {
      env['SSL_CERT_FILE'] = join(folder, 'empty.pem');
      await writeFile(env['SSL_CERT_FILE'], '');
    },
  },
  {
    name: 'a store of pins that is no TOML',
    code: 'known_gateways_unparsable',
    remedy: /\w/,
    plant: ({ env }) => writeFile(join(env['BMUX_STATE_DIR'] ?? '', 'known-gateways.toml'), 'x = \n'),
  },
  {
    name: 'auth-state.json that is no JSON',
    code: 'auth_state_unparsable',
    remedy: /\w/,
    plant: (spot) => writeFile(inRun(spot, 'auth-state.json'), '{', { mode: 0o600 }),
  },
  {
    name: 'server-meta.json that is no JSON',
    code: 'server_meta_unparsable',
    remedy: /\w/,
    plant: (spot) => writeFile(inRun(spot, 'server-meta.json'), '{', { mode: 0o600 }),
  },
  {
    name: 'no SSH agent for a target with SSH auth',
    code: 'agent_missing',
    remedy: /ssh-agent/,
    also: /^ssh_auth|^iroh/,
    plant: (spot) => spot.config(wantsAuth(spot)),
  },
  {
    name: 'an SSH agent that has ended',
    code: 'agent_unusable',
    remedy: /ssh-add -l/,
    also: /^ssh_auth|^iroh/,
    plant: async (spot) => {
      spot.env['SSH_AUTH_SOCK'] = join(spot.folder, 'gone.sock');
      await spot.config(wantsAuth(spot));
    },
  },
  {
    name: 'an SSH agent without keys',
    code: 'agent_empty',
    remedy: /ssh-add/,
    also: /^ssh_auth|^iroh/,
    plant: async (spot) => {
      const path = join(spot.folder, 'agent.sock');
      await spot.listen(agent([0, 0, 0, 5, 12, 0, 0, 0, 0]), path);
      spot.env['SSH_AUTH_SOCK'] = path;
      await spot.config(wantsAuth(spot));
    },
  },
  {
    name: 'a share link that leads to itself',
    code: 'share_link_loop',
    remedy: /\w/,
    plant: ({ config }) => config('[connections.share_links]\nmine = "bmux://mine"\n'),
  },
];
