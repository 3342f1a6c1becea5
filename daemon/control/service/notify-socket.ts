// Tells the service manager about this process: datagrams to the socket of NOTIFY_SOCKET, sd_notify(3). Node has no datagrams on Unix
// sockets, so they are sent by the C library, or where that does not load by the program systemd-notify.
import { spawn } from 'node:child_process';
import { cLibrary } from '../../base/c-library.ts';

/** Bytes of an address: the family, and a path of at most 107 bytes. */
const MAX_PATH = 107;
const [AF_UNIX, SOCK_DGRAM, SOCK_CLOEXEC] = [1, 2, 0o2000000];
const [MSG_DONTWAIT, MSG_NOSIGNAL] = [0x40, 0x4000];
/** ms that systemd-notify may take. */
const PROGRAM_MS = 5000;

export type Notify = (assignments: readonly string[]) => void;

/** Sends to the socket at `path`, where `@` begins an abstract name. Errors are ignored, as by sd_notify: no manager listens then. */
export function notifySocket(path: string): Notify {
  const send = byLibrary(path);
  return (assignments) => {
    if (send === undefined || !send(assignments.join('\n'))) byProgram(path, assignments);
  };
}

/** Whether this process itself can send. Otherwise a child does, which the unit must allow. */
export function canNotify(): boolean {
  return byLibrary('/') !== undefined;
}

/** Undefined where the library does not load, or the system is not Linux on a known processor. The function says whether it could send. */
function byLibrary(path: string): ((text: string) => boolean) | undefined {
  const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : path);
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch) || name.length > MAX_PATH)
    return undefined;
  try {
    const library = cLibrary();
    const socket = library.func('int socket(int domain, int type, int protocol)');
    const sendto = library.func(
      'long sendto(int fd, const uint8_t *data, size_t length, int flags, const uint8_t *address, uint32_t size)',
    );
    const close = library.func('int close(int fd)');
    const address = Buffer.alloc(2 + name.length);
    address.writeUInt16LE(AF_UNIX, 0);
    name.copy(address, 2);
    return (text) => {
      const fd = Number(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
      if (fd < 0) return false;
      const data = Buffer.from(text);
      const sent = sendto(fd, data, data.length, MSG_DONTWAIT | MSG_NOSIGNAL, address, address.length);
      close(fd);
      return Number(sent) === data.length;
    };
  } catch {
    return undefined;
  }
}

function byProgram(path: string, assignments: readonly string[]): void {
  const child = spawn('systemd-notify', [`--pid=${String(process.pid)}`, ...assignments], {
    env: { PATH: '/usr/local/bin:/usr/bin:/bin', NOTIFY_SOCKET: path },
    stdio: 'ignore',
    timeout: PROGRAM_MS,
    killSignal: 'SIGKILL',
  });
  child.on('error', () => undefined);
  child.unref();
}
