// What the exit statuses of both programs mean. Help, man pages and documentation are made from it.

export const EXIT_STATUSES: Readonly<Record<number, string>> = {
  0: 'done',
  1: 'failed',
  2: 'wrong usage or an unknown target',
  3: 'no daemon',
  4: '--if-running found nothing',
  5: 'refused by policy: another slot, another build',
  6: 'not authorised or not trusted',
  7: 'out of time',
  8: 'the stream was lost',
};

/** All in one sentence. */
export function exitStatusText(): string {
  const parts = Object.entries(EXIT_STATUSES).map(([status, meaning]) => `${status} ${meaning}`);
  return `Exit status: ${parts.join('; ')}.`;
}
