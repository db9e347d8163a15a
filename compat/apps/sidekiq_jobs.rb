# Sidekiq: jobs in queues, scheduled and retried, done by a worker process: `ruby sidekiq_jobs.rb PORT`.
# The worker loads this file for the jobs. Prints `ok - NAME` or `not ok - NAME: why` per promise.
require "sidekiq"
require "sidekiq/api"

URL = ENV["APPLICATION_URL"] || "redis://127.0.0.1:#{ARGV[0]}/0"
WAIT_MAX_S = 60

Sidekiq.configure_client { |config| config.redis = { url: URL } }
Sidekiq.configure_server do |config|
  config.redis = { url: URL }
  config.average_scheduled_poll_interval = 1
end

def redis(&block) = Sidekiq.redis(&block)

class Note
  include Sidekiq::Worker
  def perform(number) = redis { |r| r.hincrby("runs", number, 1) }
end

class DueAt
  include Sidekiq::Worker
  def perform(due) = redis { |r| r.rpush("early", Time.now.to_f < due ? 1 : 0) }
end

class WorksTheThirdTime
  include Sidekiq::Worker
  sidekiq_options retry: 5
  sidekiq_retry_in { 1 }
  def perform
    raise "not yet" if redis { |r| r.incr("tries") } < 3
    redis { |r| r.set("third", "done") }
  end
end

class NeverWorks
  include Sidekiq::Worker
  sidekiq_options retry: 0
  def perform = raise("never")
end

def until_holds(what)
  deadline = Process.clock_gettime(Process::CLOCK_MONOTONIC) + WAIT_MAX_S
  until yield
    raise "#{what}: not after #{WAIT_MAX_S} s" if Process.clock_gettime(Process::CLOCK_MONOTONIC) > deadline
    sleep 0.05
  end
end

def check(seen, meant) = seen == meant || raise("#{seen.inspect}, not #{meant.inspect}")

PROMISES = {
  "every job runs once" => lambda {
    (0...500).each { |number| Note.perform_async(number) }
    Sidekiq::Client.push_bulk("class" => Note, "args" => (500...1500).map { |number| [number] })
    until_holds("the jobs are done") { redis { |r| r.hlen("runs") } == 1500 && Sidekiq::Queue.new.size.zero? }
    check(redis { |r| r.hvals("runs") }.map(&:to_i).uniq, [1])
    until_holds("they are counted") { Sidekiq::Stats.new.processed == 1500 }
  },
  "scheduled jobs wait" => lambda {
    (1..3).each { |s| DueAt.perform_at(Time.now + s, Time.now.to_f + s) }
    gone = DueAt.perform_in(3600, 0)
    check(Sidekiq::ScheduledSet.new.size, 4)
    until_holds("three are done") { redis { |r| r.llen("early") } == 3 }
    check(redis { |r| r.lrange("early", 0, -1) }.map(&:to_i), [0, 0, 0])
    Sidekiq::ScheduledSet.new.find_job(gone).delete
    check(Sidekiq::ScheduledSet.new.size, 0)
  },
  "failures are tried again" => lambda {
    WorksTheThirdTime.perform_async
    until_holds("it waits for its retry") { Sidekiq::RetrySet.new.size == 1 || redis { |r| r.get("third") } }
    until_holds("it has worked") { redis { |r| r.get("third") } == "done" }
    check(redis { |r| r.get("tries") }.to_i, 3)
    check(Sidekiq::RetrySet.new.size, 0)
  },
  "what never works is dead" => lambda {
    NeverWorks.perform_async
    until_holds("it is dead") { Sidekiq::DeadSet.new.size == 1 }
    check(Sidekiq::DeadSet.new.first.item["error_message"], "never")
  },
  "the worker is seen" => lambda {
    until_holds("it has told of itself") { Sidekiq::ProcessSet.new.size == 1 }
    check(Sidekiq::ProcessSet.new.first["concurrency"], 5)
  },
}.freeze

def main
  Sidekiq.logger.level = Logger::ERROR
  env = { "APPLICATION_URL" => URL }
  worker = Process.spawn(env, "sidekiq", "-r", File.expand_path(__FILE__), "-c", "5", out: File::NULL, err: File::NULL)
  bad = PROMISES.count do |name, promise|
    promise.call
    puts "ok - #{name}"
    false
  rescue StandardError => e
    puts "not ok - #{name}: #{e.class} #{e.message.lines.first}"
    true
  end
  Process.kill("TERM", worker)
  Process.wait(worker)
  puts $?.success? ? "ok - the worker ends when told" : "not ok - the worker ends when told: #{$?}"
  exit(bad.zero? && $?.success? ? 0 : 1)
end

main if $PROGRAM_NAME == __FILE__
