// The metrics of the daemon: what the engines have counted, and what control knows itself.
import type { Status } from '../../api/answers.ts';
import type { Sample } from '../../api/metrics/tally.ts';
import { residentBytes } from '../../base/process/memory.ts';
import type { Events } from '../http/events.ts';
import type { EngineSupervisor } from '../engines/supervisor.ts';
import { exposition } from './exposition.ts';
import type { Tallies } from './tallies.ts';

export interface MetricsOptions {
  readonly tallies: Pick<Tallies, 'counters' | 'gauges'>;
  /** Asks all engines; each has sent its tally then, or counts with its last one. */
  readonly status: () => Promise<Status>;
  readonly supervisor: Pick<EngineSupervisor, 'starts'>;
  readonly events: Pick<Events, 'listeners' | 'counts'>;
}

const CONTROL = { process: 'control' };

/** The text for Prometheus. */
export async function metricsText({ tallies, status, supervisor, events }: MetricsOptions): Promise<string> {
  const now = await status();
  const { user, system } = process.cpuUsage();
  const { starts } = supervisor;
  const resident = residentBytes();
  const own: Sample[] = [
    sample('bmuxd_build_info', 1, { version: now.version }),
    sample('bmuxd_start_time_seconds', now.sinceMs / 1000),
    sample('bmuxd_ready', now.state === 'ready' ? 1 : 0),
    sample('bmuxd_problems', now.problems.length),
    sample('bmuxd_engine_starts_total', starts),
    sample('bmuxd_engine_restarts_total', Math.max(0, starts - 1)),
    sample(
      'bmuxd_lost_connections',
      (now.lostConnections ?? []).reduce((sum, { count }) => sum + count, 0),
    ),
    sample('bmuxd_contexts', now.contexts.length),
    sample('bmuxd_event_followers', events.listeners),
    ...[...events.counts].map(([type, count]) => sample('bmuxd_events_total', count, { type })),
    sample('bmuxd_process_cpu_seconds_total', (user + system) / 1e6, CONTROL),
    ...(resident === undefined ? [] : [sample('bmuxd_process_resident_memory_bytes', resident, CONTROL)]),
    ...now.engines.map(({ state }) => sample('bmuxd_engines', 1, { state })),
    ...now.upstreams.flatMap(({ transport, state, connections, spares }) => [
      sample('bmuxd_upstreams', 1, { transport, state }),
      sample('bmuxd_connections', connections, { transport }),
      sample('bmuxd_spares', spares, { transport }),
    ]),
  ];
  const answering = now.engines.filter(({ state }) => state !== 'not answering');
  const gauges = tallies.gauges(answering.map(({ generation }) => generation));
  return exposition([...own, ...tallies.counters(), ...gauges]);
}

function sample(name: string, value: number, labels: Sample['labels'] = {}): Sample {
  return { name, labels, value };
}
