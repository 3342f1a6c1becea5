// The streams of all engines as one list, made from what each has answered.
import { isPlanningRow, isStreamRow } from '../../../api/answer-shapes.ts';
import { SCHEMA, type PlanningRow, type StreamList, type StreamRow } from '../../../api/answers.ts';
import { list, object, optional } from '../../../api/shape.ts';

const hasStreams = object<Pick<StreamList, 'streams' | 'planning'>>({
  streams: list(isStreamRow),
  planning: optional(list(isPlanningRow)),
});

/** `body`: the answer; undefined without one. */
export function streamList(
  answers: readonly { readonly generation: string; readonly body: unknown }[],
): StreamList {
  const streams: StreamRow[] = [];
  const planning: PlanningRow[] = [];
  const silent: string[] = [];
  const otherVersion: string[] = [];
  for (const { generation, body } of answers) {
    if (hasStreams(body)) {
      streams.push(...body.streams);
      planning.push(...(body.planning ?? []));
    } else if (body === undefined) silent.push(generation);
    else otherVersion.push(generation);
  }
  return {
    schema: SCHEMA,
    streams,
    ...(planning.length === 0 ? {} : { planning }),
    silent,
    ...(otherVersion.length === 0 ? {} : { otherVersion }),
  };
}
