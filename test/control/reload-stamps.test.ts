// Tests that `bmuxd reload` reads every file anew, also one whose content has changed while device, inode, size, mtime and ctime have not.
import { spawnSync } from 'node:child_process';
import { mkdir, open, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { sleep } from '../../daemon/base/async/sleep.ts';
import { makeSandbox, startBmuxd } from '../daemon/bmuxd.ts';
import { selfSigned } from '../embedded/certificate.ts';
import { launchEmbedded } from '../embedded/launch.ts';
import { freePort } from '../real/child.ts';

/** The size of a file system that is only as large as its files, bytes. */
const DISK = 1 << 20;
/** Stamps that are younger than this may be read again without a reload, ms. */
const OLD_STAMP_MS = 3000;

/** A file system is mounted by root only. */
const TRY =
  'f=$(mktemp) && truncate -s 1M "$f" && mkfs.ext4 -qF "$f" && unshare -m mount -o loop "$f" /mnt; s=$?; rm -f "$f"; exit $s';
const skip = spawnSync('/bin/sh', ['-c', TRY]).status === 0 ? false : 'a file system cannot be mounted here';

function must(command: string, ...args: readonly string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`);
  return stdout.trim();
}

/** A file system whose bytes can be changed while it is not mounted. */
class Disk {
  readonly folder: string;
  readonly #image: string;
  readonly #device: string;
  #isMounted = false;

  constructor(image: string, folder: string) {
    this.folder = folder;
    this.#image = image;
    must('truncate', '-s', String(DISK), image);
    must('mkfs.ext4', '-q', '-O', '^has_journal', image);
    this.#device = must('losetup', '--find', '--show', image);
  }

  mount(): void {
    must('mount', '-o', 'noatime', this.#device, this.folder);
    this.#isMounted = true;
  }

  /** Replaces bytes of files, and nothing that describes the files. */
  async replace(changes: readonly (readonly [before: string, after: string])[]): Promise<void> {
    must('umount', this.folder);
    this.#isMounted = false;
    const file = await open(this.#image, 'r+');
    try {
      const bytes = await file.readFile();
      for (const [before, after] of changes) {
        const at = bytes.indexOf(before);
        if (at < 0 || before.length !== after.length) throw new Error(`cannot replace ${before}`);
        await file.write(Buffer.from(after), 0, after.length, at);
      }
    } finally {
      await file.close();
    }
    this.mount();
  }

  remove(): void {
    if (this.#isMounted) must('umount', this.folder);
    must('losetup', '--detach', this.#device);
  }
}

async function diskFor(t: Test, folder: string): Promise<Disk> {
  const path = join(folder, 'disk');
  await mkdir(path);
  const disk = new Disk(join(folder, 'image'), path);
  t.teardown(() => disk.remove());
  disk.mount();
  return disk;
}

/** A self-signed certificate with a PEM as long as `pem`: signatures differ in length. */
function asLongAs(pem: string): string {
  for (;;) {
    const { certPem } = selfSigned();
    if (certPem.length === pem.length) return certPem;
  }
}

t.test('a reload reads what no stamp shows', { skip }, async (t) => {
  const sandbox = await makeSandbox();
  t.teardown(() => sandbox.remove());
  const disk = await diskFor(t, sandbox.folder);
  const gateway = await launchEmbedded({
    socketPath: join(sandbox.folder, 'server.sock'),
    server: { epoch: 4 },
    tls: { compression: 'none' },
  });
  t.teardown(() => gateway.stop());
  const { port = 0, certPem = '', fingerprint = '' } = gateway.tls ?? {};
  const own = (name: string): string => join(disk.folder, name);
  const text = {
    dead: `port = ${String(await freePort())} # moved`,
    port: `port = ${String(port)} # moved`,
    pin: `fingerprint_sha256 = "${fingerprint}"`,
    otherPin: `fingerprint_sha256 = "${fingerprint.replace(/.{8}$/, '00000000')}"`,
    ca: certPem.trim(),
    otherCa: asLongAs(certPem).trim(),
    setting: 'drain_max = 77',
    badSetting: 'drain_max = -7',
  };
  const width = Math.max(text.dead.length, text.port.length);
  const [dead, alive] = [text.dead.padEnd(width), text.port.padEnd(width)];
  // The pin is that of 127.0.0.1, so that it says nothing of the other targets.
  const target = (name: string, host: string, lines: string): string =>
    `[connections.targets.${name}]\ntransport = "tls"\nhost = "${host}"\nserver_name = "localhost"\n${lines}\n`;
  const files: Readonly<Record<string, string>> = {
    'bmux.toml': [
      target('moved', 'localhost', `ca_file = "${own('gateway.pem')}"\n${dead}`),
      target('trusted', 'localhost', `ca_file = "${own('ca.pem')}"\nport = ${String(port)}`),
      target('pinned', '127.0.0.1', `port = ${String(port)}`),
    ].join(''),
    'gateway.pem': `# not changed\n${certPem}`,
    'ca.pem': text.otherCa,
    'known-gateways.toml': `[gateways."127.0.0.1:${String(port)}"]\n${text.otherPin}\ntrusted_at_unix_ms = 7\n`,
    'bmuxd.toml': `[engine]\n${text.setting}\n`,
  };
  for (const [name, content] of Object.entries(files)) await writeFile(own(name), content);
  const env = {
    ...sandbox.env,
    BMUX_CONFIG_DIR: disk.folder,
    BMUX_STATE_DIR: disk.folder,
    BMUXD_CONFIG: own('bmuxd.toml'),
  };
  const bmuxd = await startBmuxd({ sandbox: { ...sandbox, env } });
  t.teardown(() => bmuxd.stop());
  /** What a `ping` of each target says, and the problems of the status. */
  const seen = async (): Promise<string[]> => {
    const answers = ['moved', 'trusted', 'pinned'].map(async (name) => {
      const { status, stderr } = await bmuxd.bmuxd(['ping', '-c', '1', name]);
      return status === 0 ? 'answers' : (/\[(\w+)\]/.exec(stderr)?.[1] ?? stderr);
    });
    const problems = (await bmuxd.status()).problems.map(({ failure }) => failure.code);
    return [...(await Promise.all(answers)), ...problems];
  };
  t.strictSame(await seen(), ['tls_unreachable', 'tls_handshake_failed', 'tls_identity_changed']);
  await sleep(OLD_STAMP_MS);
  const stamps = () =>
    Promise.all(
      Object.keys(files).map(async (name) => {
        const { dev, ino, size, mtimeNs, ctimeNs } = await stat(own(name), { bigint: true });
        return [name, dev, ino, size, mtimeNs, ctimeNs];
      }),
    );
  const before = await stamps();
  await disk.replace([
    [dead, alive],
    [text.otherCa, text.ca],
    [text.otherPin, text.pin],
    [text.setting, text.badSetting],
  ]);
  t.strictSame(await stamps(), before, 'no stamp shows a change');
  t.match(await bmuxd.bmuxd(['reload']), { status: 1, stderr: /drain_max.*\[settings_invalid\]/s });
  t.strictSame(await seen(), ['answers', 'answers', 'answers', 'settings_invalid']);
});
