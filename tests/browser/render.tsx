// Draws a dashboard from its JSON with Grafana's own components, over the query API of a Prometheus.
//
// Grafana's panels are thin wrappers around these components; what they do between the JSON and the component is done
// here in short: fill in variables (all chosen), ask, apply field options and overrides, transform, draw.
import {
  createDataFrame,
  createTheme,
  DataFrame,
  dateTime,
  FieldType,
  getDisplayProcessor,
  getFieldDisplayName,
  getFieldDisplayValues,
  standardTransformers,
  standardTransformersRegistry,
  ThemeContext,
  TimeRange,
  transformDataFrame,
  VizOrientation,
} from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { BarGauge, BigValue, GlobalStyles, PanelChrome, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import { Component, ReactNode, useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import { lastValueFrom } from 'rxjs';

const CELL = 30;
const GAP = 8;
const theme = createTheme({ colors: { mode: 'dark' } });
const page = new URLSearchParams(location.search);
const [from, to] = [Number(page.get('from')), Number(page.get('to'))];
const step = Number(page.get('step'));
const width = Number(page.get('width'));
const range: TimeRange = { from: dateTime(from * 1000), to: dateTime(to * 1000), raw: { from: 'now-6h', to: 'now' } };

// `joinByField` is there under an older name too.
const transformers = new Map(Object.values(standardTransformers).map((info) => [info.id as string, info]));
standardTransformersRegistry.setInit(() =>
  [...transformers].map(([id, info]) => ({
    id,
    name: info.name,
    transformation: () => Promise.resolve(info as Json),
    editor: () => null,
    imageDark: '',
    imageLight: '',
  }))
);

type Json = any; // eslint-disable-line -- what a dashboard's JSON may hold is Grafana's business

function filled(text: string, board: Json): string {
  const values: Record<string, string> = {
    __rate_interval: `${Math.max(step + 60, 4 * 60)}s`,
    __range: `${to - from}s`,
  };
  for (const variable of board.templating.list) {
    values[variable.name] = variable.allValue;
  }
  return text.replace(/\$(\w+)/g, (whole, name) => values[name] ?? whole);
}

async function ask(board: Json, target: Json): Promise<Json[]> {
  const query = filled(target.expr, board);
  const time: Record<string, string> = target.range
    ? { start: `${from}`, end: `${to}`, step: `${step}` }
    : { time: `${to}` };
  const path = target.range ? 'query_range' : 'query';
  const answer = await fetch(`/api/v1/${path}`, { method: 'POST', body: new URLSearchParams({ query, ...time }) });
  const told = await answer.json();
  if (told.status !== 'success') {
    throw new Error(`${told.error}: ${query}`);
  }
  return told.data.result;
}

function legend(format: string, labels: Record<string, string>): string {
  return format === '__auto' ? '' : format.replace(/{{(\w+)}}/g, (_, label) => labels[label] ?? '');
}

// One frame for each series, with a gap where a point is missing.
function curves(results: Json[], target: Json): DataFrame[] {
  return results.map((series) => {
    const points: Array<[number, string]> = series.values ?? [series.value];
    const values = new Map(points.map(([time, value]) => [time, Number(value)]));
    const times = target.range ? Array.from({ length: (to - from) / step + 1 }, (_, n) => from + n * step) : [to];
    return createDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: FieldType.time, values: times.map((time) => time * 1000) },
        {
          name: 'Value',
          type: FieldType.number,
          labels: series.metric,
          config: { displayNameFromDS: legend(target.legendFormat, series.metric) || undefined },
          values: times.map((time) => values.get(time) ?? null),
        },
      ],
    });
  });
}

// One frame for each query, a column for each label.
function tableOf(results: Json[], target: Json, queries: number): DataFrame {
  const labels = [...new Set(results.flatMap((series) => Object.keys(series.metric)))].sort();
  return createDataFrame({
    refId: target.refId,
    fields: results.length
      ? [
          { name: 'Time', type: FieldType.time, values: results.map(() => to * 1000) },
          ...labels.map((name) => ({
            name,
            type: FieldType.string,
            values: results.map((series) => series.metric[name] ?? ''),
          })),
          {
            name: queries > 1 ? `Value #${target.refId}` : 'Value',
            type: FieldType.number,
            values: results.map((series) => Number(series.value[1])),
          },
        ]
      : [],
  });
}

function withOptions(frames: DataFrame[], panel: Json): DataFrame[] {
  let series = 0;
  for (const frame of frames) {
    for (const field of frame.fields) {
      const name = getFieldDisplayName(field, frame, frames);
      const { custom, ...options } = structuredClone(panel.fieldConfig.defaults);
      field.config = { ...options, ...field.config, custom: { ...custom, ...field.config.custom } };
      if (field.type === FieldType.number) {
        field.state = { ...field.state, seriesIndex: series++ };
      } else {
        delete field.config.unit;
      }
      for (const override of panel.fieldConfig.overrides) {
        if (override.matcher.options === name) {
          for (const { id, value } of override.properties) {
            if (id.startsWith('custom.')) {
              field.config.custom[id.slice('custom.'.length)] = value;
            } else if (id !== 'links') {
              (field.config as Json)[id] = value;
            }
          }
        }
      }
      for (const one of field.config.thresholds?.steps ?? []) {
        one.value ??= -Infinity;
      }
      field.display = getDisplayProcessor({ field, theme, timeZone: 'utc' });
    }
  }
  return frames;
}

async function load(board: Json, panel: Json): Promise<DataFrame[]> {
  const results = await Promise.all(panel.targets.map((target: Json) => ask(board, target)));
  const frames = panel.targets.flatMap((target: Json, n: number) =>
    target.format === 'table' ? [tableOf(results[n], target, panel.targets.length)] : curves(results[n], target)
  );
  const transformed = await lastValueFrom(transformDataFrame(panel.transformations ?? [], frames));
  return withOptions(transformed, panel);
}

function displays(frames: DataFrame[], panel: Json) {
  return getFieldDisplayValues({
    fieldConfig: panel.fieldConfig,
    reduceOptions: panel.options.reduceOptions,
    replaceVariables: (text) => text,
    theme,
    data: frames,
    timeZone: 'utc',
  });
}

// One panel that can't be drawn leaves the others, and a note.
class Apart extends Component<{ title: string; children: ReactNode }, { failed: boolean }> {
  state = { failed: false };
  static getDerivedStateFromError() {
    return { failed: true };
  }
  componentDidCatch(error: Error) {
    (window as Json).errors.push(`${this.props.title}: ${error.stack?.slice(0, 600)}`);
  }
  render() {
    return this.state.failed ? 'cannot be drawn' : this.props.children;
  }
}

function Inside({ panel, frames, w, h }: { panel: Json; frames: DataFrame[]; w: number; h: number }) {
  const rows = frames.filter((frame) => frame.length > 0);
  if (rows.length === 0 && panel.type !== 'stat') {
    return <div style={{ textAlign: 'center', paddingTop: h / 2 - 12, color: theme.colors.text.secondary }}>No data</div>;
  }
  switch (panel.type) {
    case 'timeseries':
      return <TimeSeries frames={rows} timeRange={range} timeZone="utc" width={w} height={h} legend={panel.options.legend} options={panel.options} />;
    case 'stat': {
      const values = rows.length ? displays(rows, panel) : [];
      const display = values[0]?.display ?? { text: panel.fieldConfig.defaults.noValue ?? 'No data', numeric: NaN };
      return (
        <BigValue value={{ ...display, title: '' }} width={w} height={h} theme={theme} colorMode={panel.options.colorMode}
          graphMode={panel.options.graphMode} justifyMode={panel.options.justifyMode} textMode={panel.options.textMode} />
      );
    }
    case 'bargauge':
      return (
        <VizRepeater source={rows} getValues={() => displays(rows, panel)} width={w} height={h} renderCounter={0}
          orientation={VizOrientation.Horizontal} minVizHeight={panel.options.minVizHeight} maxVizHeight={panel.options.maxVizHeight} itemSpacing={8}
          getAlignmentFactors={(values: Json[]) => ({
            title: values.map((one) => one.display.title ?? '').reduce((a, b) => (b.length > a.length ? b : a), ''),
            text: values.map((one) => one.display.text).reduce((a, b) => (b.length > a.length ? b : a), ''),
          })}
          renderValue={({ value, width, height, orientation, alignmentFactors }: Json) => (
            <BarGauge value={value.display} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex)}
              width={width} height={height} orientation={orientation} theme={theme} displayMode={panel.options.displayMode}
              text={panel.options.text} showUnfilled={panel.options.showUnfilled} valueDisplayMode={panel.options.valueMode} alignmentFactors={alignmentFactors} />
          )}
        />
      );
    case 'table':
      return (
        <TableNG data={rows[0]} width={w} height={h} sortBy={panel.options.sortBy} cellHeight={panel.options.cellHeight}
          enableVirtualization={false} fieldConfig={panel.fieldConfig} />
      );
    default:
      throw new Error(`no component for ${panel.type}`);
  }
}

function Panel({ board, panel, done }: { board: Json; panel: Json; done: (error?: string) => void }) {
  const [frames, setFrames] = useState<DataFrame[]>();
  useEffect(() => {
    if (panel.type === 'row') {
      return;
    }
    load(board, panel).then(setFrames, (error) => done(`${panel.title}: ${error}`));
  }, []);
  useEffect(() => {
    if (frames) {
      done();
    }
  }, [frames]);
  const { x, y, w, h } = panel.gridPos;
  const column = (width - GAP) / 24;
  const [pixels, height] = [w * column - GAP, h * (CELL + GAP) - GAP];
  return (
    <div style={{ position: 'absolute', left: GAP + x * column, top: GAP + y * (CELL + GAP), width: pixels, height }}>
      {panel.type === 'row' ? (
        <div style={{ fontSize: 16, fontWeight: 500, padding: '4px 4px' }}>⌄ {panel.title}</div>
      ) : (
        <PanelChrome title={panel.title} description={panel.description} width={pixels} height={height}>
          {(w, h) =>
            frames ? (
              <Apart title={panel.title}>
                <Inside panel={panel} frames={frames} w={w} h={h} />
              </Apart>
            ) : (
              <></>
            )
          }
        </PanelChrome>
      )}
    </div>
  );
}

function Dashboard({ board }: { board: Json }) {
  const places = board.panels.map((panel: Json) => panel.gridPos.y + panel.gridPos.h);
  const height = Math.max(...places) * (CELL + GAP) + 2 * GAP;
  const wanted = board.panels.filter((panel: Json) => panel.type !== 'row').length;
  let ready = 0;
  const done = (error?: string) => {
    (window as Json).errors.push(...(error ? [error] : []));
    ready += 1;
    (window as Json).ready = ready >= wanted;
  };
  return (
    <div style={{ position: 'relative', width, height, background: theme.colors.background.canvas, color: theme.colors.text.primary }}>
      {board.panels.map((panel: Json) => (
        <Panel key={panel.id} board={board} panel={panel} done={done} />
      ))}
    </div>
  );
}

async function main() {
  (window as Json).errors = [];
  await initPluginTranslations('grafana');
  const board = await (await fetch(`/dashboards/${page.get('board')}.json`)).json();
  createRoot(document.getElementById('root')!).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Dashboard board={board} />
    </ThemeContext.Provider>
  );
}

main().catch((error) => (window as Json).errors.push(String(error)));
