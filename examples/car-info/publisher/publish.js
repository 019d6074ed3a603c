// Publishes made-up telemetry of cars: node publish.js [messages] [messages a second].
//
// The brokers are in LEVADA_BOOTSTRAP_SERVERS or KAFKA_BROKERS (127.0.0.1:9092), the topic in KAFKA_TOPIC (car_info).
'use strict'

const { Kafka, CompressionTypes, Partitioners, logLevel } = require('kafkajs')

const brokers = (process.env.KAFKA_BROKERS || process.env.LEVADA_BOOTSTRAP_SERVERS || '127.0.0.1:9092').split(',')
const topic = process.env.KAFKA_TOPIC || 'car_info'
const count = Number(process.argv[2] || 10000)
const rate = Number(process.argv[3] || 1000)
const CARS = 200

/** What car `i % CARS` reports at the time `now`, in milliseconds. */
function report(i, now) {
  const car = i % CARS
  const at = new Date(now).toISOString()
  const digits = at.replace(/\D/g, '')
  const along = (Math.floor(i / CARS) % 1000) / 1e5
  return {
    dataId: `N${String(i).padStart(12, '0')}`,
    trsmDy: Number(digits.slice(0, 8)),
    trmnId: `T${String(car).padStart(6, '0')}`,
    trsmUtcTime: now / 1000,
    trsmYear: digits.slice(0, 4),
    trsmMt: digits.slice(4, 8),
    trsmTm: digits.slice(8, 14),
    trsmMs: digits.slice(14, 17),
    vhcleLot: 126.8 + car / 1000 + along,
    vhcleLat: 37.4 + car / 1000 + along,
    vhcleEvt: 35.5,
    trmnTypeCd: car % 2 ? 'B2' : 'A1',
    gpsUtcTime: (now - (i % 500)) / 1000,
    vhcleDrc: (car * 7) % 360,
    vhcleSped: (i * 13) % 110,
    trnsmStatCd: i % 50 ? 'D' : 'P',
    lcdtRevisnStatCd: i % 20 ? '1' : '0',
    vhcleTypeCd: String(11 + (car % 5)),
    rgtrId: 'SYS',
    regDt: at
  }
}

async function main() {
  const kafka = new Kafka({ clientId: 'car-info-publisher', brokers, logLevel: logLevel.ERROR })
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 4 }], waitForLeaders: true })
  await admin.disconnect()

  // An idempotent producer: a message that is sent again is there once.
  const producer = kafka.producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    idempotent: true,
    maxInFlightRequests: 1
  })
  await producer.connect()
  const began = Date.now()
  for (let sent = 0; sent < count;) {
    const due = Math.min(count, Math.ceil(((Date.now() - began) / 1000) * rate) + 1, sent + 2000)
    if (due > sent) {
      const messages = []
      for (; sent < due; sent++) {
        const car = report(sent, Date.now())
        messages.push({ key: car.trmnId, value: JSON.stringify(car) })
      }
      await producer.send({ topic, messages, acks: -1, compression: CompressionTypes.None })
    } else {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  await producer.disconnect()
  console.log(`${count} messages sent to ${topic}`)
}

main().catch((error) => {
  console.error(error)
  process.exitCode = 1
})
