// Tests what is told of an error of the iroh binding.
import t from 'tap';
import { irohError } from '../../../daemon/transport/iroh/binding.ts';

t.test('why a connection was lost is told in words', async (t) => {
  const rows = [
    ['ConnectionLost(TimedOut)', 'the host does not answer'],
    ['ConnectionLost(Reset)', 'the host does not know the connection any more'],
    [
      'ConnectionLost(ApplicationClosed(ApplicationClose { error_code: 0 }))',
      'the host has closed the connection',
    ],
    [
      'GenericFailure (src/stream.rs:1:2)\n\nCaused by:\n    0: ConnectionLost(TimedOut)',
      'the host does not answer',
    ],
    ['ConnectionLost(CidsExhausted)', 'ConnectionLost(CidsExhausted)'],
    ['timed out', 'timed out'],
    [
      'the cryptographic handshake failed: error 48: invalid peer certificate: UnknownIssuer',
      'a host with another endpoint id answers at the address',
    ],
    [
      "Service 'dns' failed: [Failed to resolve TXT recordFailed to resolve TXT record]",
      "Service 'dns' failed: [Failed to resolve TXT record]",
    ],
  ] as const;
  for (const [said, told] of rows) t.equal(irohError(new Error(said)).message, told);
});
